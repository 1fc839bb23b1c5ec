"""The replay page in a real headless Chromium: what it shows, its keys and pointer, its looks, and how fast it draws."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from agent.scripted.protocol import View
from arena.replay import read_replay
from arena.replay_page import page as page_text
from arena.replay_page import write_page
from arena.replay_page.recording import PLAYERS, read_recording
from submission.thoughts import VARIABLE, read_thoughts
from tests.arena.test_replay_page import KAGGLE, play_ours
from tests.browser import CHROMIUM, NO_CHROMIUM, Page
from tests.large_game import write_large_game
from tests.shown_replay import place, settle, show, text

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
CARGO = ("ice", "ore", "water", "metal")
STATE = """(() => { const s = replay.match.state; return {step: s.step, teams: s.teams, rubble: [...s.rubble], lichen: [...s.lichen],
    strain: [...s.strain], robots: [...s.robots.values()].map(r => [r.id, r.side, r.heavy, r.cell, r.power, r.cargo, r.queue]),
    factories: [...s.factories.values()].map(f => [f.number, f.side, f.cell, f.stock])} })()"""


def boards(replay: dict[str, Any]) -> list[dict[str, Any]]:
    """Of every state the boards, as the judge's clients add them up."""
    view, states = View(), []
    for step, obs in enumerate(replay["observations"]):
        view.update({"obs": obs, "step": step, "remainingOverageTime": 0, "player": PLAYERS[0], "info": {}})
        states.append({name: view.boards[name].copy() for name in ("rubble", "lichen", "lichen_strains")})
    return states


def expected(obs: dict[str, Any], board: dict[str, Any]) -> dict[str, Any]:
    """What `STATE` must say of an observation."""
    size = len(board["rubble"])
    robots, factories = [], []
    for side, player in enumerate(PLAYERS):
        for name, unit in obs["units"][player].items():
            cargo = [unit["cargo"][key] for key in CARGO]
            cell = unit["pos"][0] + size * unit["pos"][1]
            robots.append([int(name[5:]), side, int(unit["unit_type"] == "HEAVY"), cell, unit["power"], cargo, unit["action_queue"]])
        for name, factory in obs["factories"][player].items():
            stock = [factory["power"], *(factory["cargo"][key] for key in CARGO)]
            factories.append([int(name[8:]), side, factory["pos"][0] + size * factory["pos"][1], stock])
    return {
        "step": obs["real_env_steps"],
        "rubble": board["rubble"].T.ravel().tolist(),
        "lichen": board["lichen"].T.ravel().tolist(),
        "strain": (board["lichen_strains"].T.ravel() + 1).tolist(),
        "robots": sorted(robots),
        "factories": sorted(factories),
    }


def test_every_state_is_the_replays_however_it_is_reached(shown: Page, fought: Path) -> None:
    data = read_replay(fought)
    states, count = boards(data), len(data["observations"])
    assert states[-1]["lichen"].sum() > 0 and count > 70
    order = [*range(count), *np.random.default_rng(0).integers(0, count, 40).tolist(), *range(count - 1, count - 40, -1)]
    for frame in order:
        state = shown.run(f"replay.match.seek({frame}) && {STATE}")
        teams = state.pop("teams")
        state["robots"].sort()
        state["factories"].sort()
        obs = data["observations"][frame]
        assert state == expected(obs, states[frame]), frame
        assert [team[:2] for team in teams] == [[obs["teams"][player][key] for key in ("water", "metal")] for player in obs["teams"]]


def test_the_table_shows_the_replays_lichen(shown: Page, fought: Path) -> None:
    data = read_replay(fought)
    states = boards(data)
    for frame in (0, 25, 51, len(states) - 1):
        shown.run(f"replay.seek({frame})")
        settle(shown)
        for side, player in enumerate(PLAYERS):
            team = data["observations"][frame]["teams"].get(player)
            own = np.isin(states[frame]["lichen_strains"], team["factory_strains"] if team else [])
            lichen = int(states[frame]["lichen"][own].sum())
            assert text(shown, f"#score tbody tr:first-child td:nth-of-type({side + 1})") == f"{lichen:,}"
            assert shown.run(f"replay.match.header.curves.lichen[{side}][{frame}]") == lichen


def test_the_opening_and_the_end_are_told(shown: Page) -> None:
    shown.press("Home")
    settle(shown)
    assert text(shown, "#phase") == "Bidding" and text(shown, "#said").startswith("Bids: ")
    shown.press("ArrowRight")
    settle(shown)
    told = text(shown, "#said")
    assert text(shown, "#phase") == "Placement" and "0 of" in text(shown, "#daytime")
    assert "farmer bid" in told and "places first" in told and told.count("to place") == 2
    assert shown.run("document.getElementById('banner').hidden")
    shown.press("End")
    settle(shown)
    assert text(shown, "#phase") == "Turn 70 of 1,000" and "left has more lichen." in text(shown, "#banner")
    assert "farmer (left) wins" in text(shown, "#result")


def test_keys(shown: Page) -> None:
    def frame() -> int:
        settle(shown)
        return shown.run("replay.match.frame")

    last = shown.run("replay.match.frames") - 1
    shown.press("Home")
    for key, shift, where in (
        ("ArrowRight", False, 1), ("ArrowRight", True, 11), ("ArrowLeft", False, 10), ("ArrowLeft", True, 0), ("ArrowLeft", False, 0),
        ("End", False, last), ("ArrowRight", False, last), ("Home", False, 0), ("]", False, 2), ("]", False, 3), ("[", False, 2),
    ):  # fmt: skip
        shown.press(key, shift)
        assert frame() == where, key
    shown.press("+")
    shown.press("+")
    assert shown.run("replay.speed") == 30 and shown.run("document.getElementById('speed').value") == "30"
    shown.press("-")
    assert shown.run("replay.speed") == 15
    shown.press(" ")
    shown.wait("replay.match.frame >= 6")
    shown.press(" ")
    stopped = frame()
    assert not shown.run("replay.playing") and stopped >= 6
    shown.press("t")
    assert shown.run("document.documentElement.dataset.theme") == "dark"
    shown.press("o")
    assert shown.run("replay.view.overlay") == "plans"
    shown.press("o")
    assert shown.run("replay.view.overlay") == "none"  # nobody recorded thoughts
    shown.press("?")
    assert shown.run("document.getElementById('help').open") and "play or pause" in text(shown, "#help")
    shown.press("ArrowRight")
    assert frame() == stopped  # the dialog has the keys
    shown.press("?")
    assert not shown.run("document.getElementById('help').open")


def test_playing_reaches_the_end_and_stops(shown: Page) -> None:
    shown.run("replay.setSpeed(120), replay.play()")
    shown.wait("!replay.playing")
    settle(shown)
    assert shown.run("replay.match.frame === replay.match.frames - 1") and not shown.run("document.getElementById('banner').hidden")
    assert shown.run("replay.toggle(), replay.playing && replay.target === 0")  # from the start again
    shown.press(" ")


def test_pointing_and_pinning(shown: Page) -> None:
    shown.run("replay.seek(60)")
    settle(shown)
    robots = shown.run(STATE)["robots"]
    number, side, heavy, cell, power, cargo, queue = next(robot for robot in robots if robot[6] and robot[5][0])
    shown.mouse("move", *place(shown, cell))
    card = text(shown, "#details")
    assert f"{'Heavy' if heavy else 'Light'} robot {number}" in card and ("farmer", "raider")[side] in card
    assert f"{power:,} of" in card and f"{cargo[0]} ice" in card and f"Cell {cell % 48}, {cell // 48}" in card
    assert shown.run("document.querySelectorAll('.queue li').length") == len(queue)
    shown.mouse("click", *place(shown, cell))
    shown.mouse("move", 5, 5)
    shown.press("ArrowRight")
    settle(shown)
    assert f"robot {number}" in text(shown, "#details") and "Pinned" in text(shown, "#details")
    shown.press("Escape")
    assert "Point at a cell" in text(shown, "#details")
    factory = shown.run(STATE)["factories"][0]
    shown.mouse("move", *place(shown, factory[2] + 1))
    card = text(shown, "#details")
    assert f"Factory {factory[0]}" in card and f"{factory[3][3]:,}" in card and "Order now" in card


def test_slider_and_curves_go_to_a_turn(shown: Page) -> None:
    shown.run("(s => { s.value = 33; s.dispatchEvent(new Event('input')) })(document.getElementById('scrub'))")
    settle(shown)
    assert shown.run("replay.match.frame") == 33
    box = shown.run("(b => [b.left, b.top, b.width, b.height])(document.querySelector('figure canvas').getBoundingClientRect())")
    shown.mouse("click", box[0] + box[2] / 2, box[1] + box[3] / 2)
    settle(shown)
    assert abs(shown.run("replay.match.frame") - (shown.run("replay.match.frames") - 1) / 2) <= 1


def test_looks_in_light_and_dark(shown: Page, tmp_path: Path) -> None:
    pictures = {}
    for theme in ("light", "dark"):
        shown.theme(theme)  # the system changes its mind while the page is open
        shown.wait(f"document.documentElement.dataset.theme === '{theme}'")
        shown.run("replay.seek(70)")
        settle(shown)
        shown.screenshot(tmp_path / f"{theme}.png")
        image = matplotlib.image.imread(tmp_path / f"{theme}.png")[..., :3]
        pictures[theme] = image
        assert image.shape == (860, 1280, 3)
        assert len(np.unique((image * 255).astype(np.int32) @ [65536, 256, 1])) > 200  # colours
        x, y, w = (int(v) for v in shown.run("(b => [b.left, b.top, b.width])(document.getElementById('board').getBoundingClientRect())"))
        board = image[y : y + w, x : x + w]
        assert board.std() > 0.05 and w > 500
        # both sides' colours stand out from the ground
        for side in range(2):
            wanted = shown.run(f"replay.board.rgb.side{side}")
            assert (np.abs(board * 255 - wanted).max(-1) < 3).sum() > 300, (theme, side)
    assert pictures["light"].mean() > 0.7 and pictures["dark"].mean() < 0.25
    print(f"screenshots: {tmp_path}")


@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1000, 700), (1920, 1080)])
def test_it_fits_any_screen(shown: Page, width: int, height: int, tmp_path: Path) -> None:
    shown.size(width, height)
    shown.wait(f"innerWidth === {width}")
    settle(shown)
    assert shown.run("document.documentElement.scrollWidth <= innerWidth")
    assert shown.run("document.getElementById('board').getBoundingClientRect().width >= Math.min(300, innerWidth * .8)")
    if width >= 1000:  # everything that is used all the time is in sight
        assert shown.run("document.getElementById('track').getBoundingClientRect().bottom <= innerHeight")
    shown.screenshot(tmp_path / "page.png")


def test_thoughts_are_shown(tab: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    path = play_ours(tmp_path, 12)
    data = {**read_replay(path), "thoughts": {player: read_thoughts(str(tmp_path), player) for player in PLAYERS}}
    (tmp_path / "r.json").write_text(json.dumps(data))
    write_page(tmp_path / "r.json", tmp_path / "page.html")
    tab.size(1280, 860)
    show(tab, tmp_path / "page.html")
    turn = data["thoughts"]["player_0"][-1]
    name, value, action, chances, kinds = next(row for row in turn["rows"] if row[0].startswith("unit"))
    tab.run(f"replay.seek({turn['step']})")
    settle(tab)
    before = tab.run("replay.board.canvas.toDataURL()")
    pictures = set()
    for overlay in ("value", "chance"):
        tab.run(f"replay.setOverlay('{overlay}')")
        settle(tab)
        pictures.add(tab.run("replay.board.canvas.toDataURL()"))
    assert len(pictures) == 2 and before not in pictures
    tab.run(f"replay.pin({{kind: 'robot', id: {int(name[5:])}}})")
    card = text(tab, "#details")
    sign = "+" if value > 0 else "−"
    assert "What the agent thought" in card and f"{sign}{abs(value):#.3g}"[:5] in card
    shares = tab.run("[...document.querySelectorAll('.choice .meter b')].map(b => b.innerText)")
    assert shares == [tab.run(f"percent({share})") for _, share in kinds[:5]]
    assert tab.run(f"percent({float(np.prod(chances))})") in card
    assert tab.messages == []


def test_names_are_text_and_no_page(tab: Page, fought: Path, tmp_path: Path) -> None:
    recording = read_recording(fought)
    recording.names = ("</script><script>document.title = 'taken'</script>", "<b>{{DATA}}")
    recording.reason = "</script><img src=x onerror=alert(1)>"
    (tmp_path / "page.html").write_text(page_text(recording), encoding="utf-8")
    show(tab, tmp_path / "page.html")
    assert tab.run("document.title").startswith("</script><script>") and tab.run("document.querySelectorAll('img').length") == 0
    assert text(tab, "#name1") == "<b>{{DATA}}" and "<img src=x" in text(tab, "#result")
    assert tab.messages == [] and all(url.startswith("file://") for url in tab.requests)


def test_a_kaggle_episode_is_shown(tab: Page, tmp_path: Path) -> None:
    write_page(KAGGLE, tmp_path / "page.html")
    show(tab, tmp_path / "page.html")
    tab.press("End")
    settle(tab)
    assert text(tab, "#score tbody tr:first-child td:first-of-type") == "854" and "higher reward" in text(tab, "#banner")
    assert tab.messages == []


SCRUB = """new Promise(done => {
  const gaps = [], last = replay.match.frames - 1, slider = document.getElementById('scrub');
  let n = 0, before = performance.now();
  replay.times.length = 0;
  const step = now => {
    gaps.push(now - before); before = now;
    if (n++ >= 240) return done([replay.times.slice(), gaps.slice(1)]);
    slider.value = %s; slider.dispatchEvent(new Event('input'));
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


@pytest.mark.slow
def test_a_large_game_scrubs_smoothly(tab: Page, tmp_path: Path) -> None:
    """1000 turns, about 370 robots, 64 x 64: the page's own work a frame, and the time from frame to frame."""
    path = write_large_game(tmp_path / "large.json.gz")
    report = write_page(path, tmp_path / "page.html")
    tab.size(1280, 860)
    show(tab, tmp_path / "page.html")
    robots = tab.run("Math.min(...replay.match.header.curves.robots.map(c => Math.min(...c)))")
    print(f"\n{report.frames - 1} turns, at least {robots} robots a side: {report.size_bytes / 1e6:.2f} MB")
    assert report.frames == 1001 and robots >= 100
    medians = []
    ways = (("sweep", "n * last / 240"), ("jumps", "n * 379 % last"), ("backwards", "last - n"), ("plans", "n * last / 240"))
    for name, where in ways:
        tab.run(f"replay.setOverlay('{'plans' if name == 'plans' else 'none'}')")
        work, gaps = (sorted(values) for values in tab.run(SCRUB % where))
        medians.append(statistics.median(work))
        print(f"{name:>10}: work a frame median {medians[-1]:.1f} ms, p90 {work[len(work) * 9 // 10]:.1f} ms; "
              f"frame to frame median {statistics.median(gaps):.1f} ms, p90 {gaps[len(gaps) * 9 // 10]:.1f} ms")  # fmt: skip
    assert tab.messages == []
    assert statistics.median(medians) < 16  # a frame of 60 Hz; about 4 ms on a core of its own
