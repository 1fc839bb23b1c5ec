"""Pictures of the replay page: both map sizes, both themes, a phone, every overlay. They are kept where pytest keeps its files."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arena.replay import read_replay
from arena.replay_page import write_page
from arena.replay_page.recording import PLAYERS
from tests.browser import CHROMIUM, NO_CHROMIUM, Page
from tests.large_game import write_large_game
from tests.shown_replay import settle, show

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
OVERLAYS = ("none", "plans", "value", "chance")
THINKING = 12  # turns with thoughts


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 370 robots on 64 x 64, with thoughts: values that grow from left to right, chances from top to bottom."""
    folder = tmp_path_factory.mktemp("crowded")
    data = read_replay(write_large_game(folder / "large.json.gz", turns=THINKING))
    data["thoughts"] = {player: [] for player in PLAYERS}
    for step in range(1, THINKING):
        for player in PLAYERS:
            shown = {**data["observations"][step]["units"][player], **data["observations"][step]["factories"][player]}
            rows = [
                [name, thing["pos"][0] - 32.0, [3, 0, 0, 0], [max(0.01, thing["pos"][1] / 63), 1.0, 1.0, 1.0], [[3, 1.0]]]
                for name, thing in shown.items()
            ]
            data["thoughts"][player].append({"step": step, "rows": rows})
    with gzip.open(folder / "crowded.json.gz", "wt") as file:
        json.dump(data, file)
    return folder / "crowded.json.gz"


def look(tab: Page, path: Path) -> np.ndarray:
    """The page as [y, x, rgb]."""
    tab.screenshot(path)
    return np.array(Image.open(path).convert("RGB"), int)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("game", "width", "height"), [("fought", 1366, 768), ("crowded", 1366, 768), ("crowded", 1920, 1080), ("crowded", 390, 844)]
)
def test_every_overlay_shows(
    game: str, width: int, height: int, theme: str, tab: Page, fought: Path, crowded: Path, tmp_path: Path
) -> None:
    write_page({"fought": fought, "crowded": crowded}[game], tmp_path / "page.html")
    tab.size(width, height, 2 if width < 500 else 1)
    tab.theme(theme)
    show(tab, tmp_path / "page.html")
    tab.run(f"replay.seek({8 if game == 'crowded' else 65})")
    settle(tab)
    seen = {}
    for overlay in tab.run("[...document.getElementById('overlay').options].map(option => option.value)"):
        tab.run(f"replay.setOverlay('{overlay}')")
        settle(tab)
        seen[overlay] = look(tab, tmp_path / f"{game}-{width}-{theme}-{overlay}.png")
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    assert tuple(seen) == (OVERLAYS if game == "crowded" else OVERLAYS[:2])
    for name, image in seen.items():
        assert name == "none" or (image != seen["none"]).any(-1).sum() > 500, name
    assert (seen["none"].mean() > 150) == (theme == "light")
    assert tab.messages == []
    print(f"screenshots: {tmp_path}")


def test_values_and_chances_can_be_told_apart_among_hundreds_of_robots(tab: Page, crowded: Path, tmp_path: Path) -> None:
    """The colour at the middle of each robot is that of its value, or of its chance, at 8 pixels a cell."""
    write_page(crowded, tmp_path / "page.html")
    tab.size(1366, 768)
    tab.theme("light")
    show(tab, tmp_path / "page.html")
    tab.run("replay.seek(8)")
    assert tab.run("replay.match.state.robots.size") > 300
    for overlay, axis in (("value", 0), ("chance", 1)):
        tab.run(f"replay.setOverlay('{overlay}')")
        settle(tab)
        cell = tab.run("replay.board.cell")
        assert cell <= 10
        robots = tab.run("[...replay.match.state.robots.values()].map(r => r.cell)")
        data = tab.run("replay.board.canvas.toDataURL().slice(22)")
        (tmp_path / "board.png").write_bytes(base64.b64decode(data))
        board = np.array(Image.open(tmp_path / "board.png").convert("RGB"), int)
        low, high = ([c for c in robots if part(np.unravel_index(c, (64, 64))[1 - axis])] for part in (lambda n: n < 16, lambda n: n >= 48))
        colours = [np.array([board[c // 64 * cell + cell // 2, c % 64 * cell + cell // 2] for c in group]) for group in (low, high)]
        wanted = [
            tab.run(f"onScale(replay.board.rgb, scaleOf(replay.match.header, '{overlay}'), {end})")
            for end in ((-24, 24) if axis == 0 else (0.12, 0.88))
        ]
        for group, right, wrong in ((colours[0], *wanted), (colours[1], *wanted[::-1])):
            assert (np.abs(group - right).sum(-1) < np.abs(group - wrong).sum(-1)).mean() > 0.9, overlay
