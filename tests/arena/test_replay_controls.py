"""The replay page's ways round a match, in a real browser: where it opens, links, zoom, events, factories, next moves, files."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arena.replay import read_replay
from arena.replay_page import write_page
from arena.replay_page.recording import PLAYERS
from tests.arena.test_replay_page import KAGGLE
from tests.browser import CHROMIUM, NO_CHROMIUM, Page
from tests.shown_replay import place, settle, show, text

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
STEPS = {1: (0, -1), 2: (1, 0), 3: (0, 1), 4: (-1, 0)}
LONG = 20_000  # bytes of a picture that shows something


def picture(tab: Page, kind: str, *args: int) -> bytes:
    """What `Film` makes of the board as it is shown, a PNG, GIF or video."""
    told = ", () => 0" if kind != "png" else ""
    given = ", ".join(map(str, args))
    url = tab.run(f"""new Film(replay, 240).{kind}({given}{told}).then(blob => new Promise(done => {{
        const reader = new FileReader(); reader.onload = () => done(reader.result); reader.readAsDataURL(blob); }}))""")
    return base64.b64decode(url.partition(",")[2])


@pytest.mark.parametrize("which", ["fought", "kaggle", "runner"])
def test_it_opens_at_turn_1_whoever_recorded_it(which: str, tab: Page, fought: Path, tmp_path: Path) -> None:
    path = {"fought": fought, "kaggle": KAGGLE, "runner": tmp_path / "runner.json"}[which]
    if which == "runner":  # as luxai-s2 writes it: no result, no rules, no names
        data = read_replay(fought)
        path.write_text(json.dumps({"observations": data["observations"], "actions": data["actions"], "metadata": {}, "default_seed": 3}))
    write_page(path, tmp_path / "page.html")
    show(tab, tmp_path / "page.html")
    assert text(tab, "#phase").startswith("Turn 1 of ")
    assert tab.run("replay.match.state.factories.size === 2 * replay.match.header.perTeam && replay.match.state.robots.size > 0")
    assert len(tab.run("[...document.querySelectorAll('.event')].map(e => e.innerText)")) > 5
    assert tab.messages == []


def test_a_link_opens_the_turn_and_what_was_pinned(shown: Page, tmp_path: Path) -> None:
    number = shown.run("replay.seek(60), replay.match.seek(60).robots.keys().next().value")
    shown.run(f"replay.pin({{kind: 'robot', id: {number}}})")
    settle(shown)
    turn = shown.run("replay.match.state.step")
    shown.wait("location.hash !== ''")
    address = shown.run("location.hash")
    assert address == f"#turn={turn}&robot={number}" and turn > 40
    show(shown, tmp_path / "page.html", address)
    assert shown.run("[replay.match.state.step, replay.view.marked.id]") == [turn, number]
    assert f"robot {number}" in text(shown, "#details")
    shown.run("location.hash = '#turn=-2'")
    shown.wait("replay.match.state.step === -2")
    for odd, where in (("#turn=99999", "replay.match.frames - 1"), ("#turn=x&robot=", "replay.match.header.start + 1"), ("#turn=-99", "0")):
        show(shown, tmp_path / "page.html", odd)
        assert shown.run(f"replay.match.frame === {where}"), odd


def test_the_link_button_copies_the_address(shown: Page) -> None:
    shown.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    shown.run("replay.seek(40)")
    settle(shown)
    shown.run("window.focus()")
    shown.run("document.getElementById('link').click()")
    shown.wait("document.getElementById('link').textContent === 'Copied'")
    turn = shown.run("replay.match.state.step")
    assert shown.run("navigator.clipboard.readText()").endswith(f"page.html#turn={turn}")


def cells_ahead(robot: dict[str, Any], size: int, most: int) -> list[int]:
    """Where a queue leads in the next turns, unit by unit, from the replay's own data."""
    x, y = robot["pos"]
    turns = []
    for kind, direction, _, _, repeat, n in robot["action_queue"]:
        turns += [(kind, direction)] * min(n, most)
        assert repeat == 0  # farmers and raiders do not repeat
    cells = [x + y * size]
    for kind, direction in turns[:most]:
        if kind == 0 and direction:
            x, y = x + STEPS[direction][0], y + STEPS[direction][1]
            cells.append(x + y * size)
    return cells


def test_next_moves_are_six_turns_in_the_colour_of_the_side(shown: Page, fought: Path) -> None:
    data = read_replay(fought)
    frame, long = 64, 0
    shown.run(f"replay.seek({frame})")
    settle(shown)
    for player in PLAYERS:
        for name, robot in data["observations"][frame]["units"][player].items():
            cells, _ = shown.run(f"wayAhead(replay.match.state.robots.get({int(name[5:])}), 48, PLAN_STEPS)")
            if all(entry[4] == 0 for entry in robot["action_queue"]):
                assert cells == cells_ahead(robot, 48, 6)
                long += len(cells) > 2
    assert long > 0
    # an endless march goes six cells, or to the edge; a loop goes on
    assert shown.run("wayAhead({cell: 48 * 20, queue: [[0, 2, 0, 0, 0, 9999]]}, 48, 6)[0].length") == 7
    assert shown.run("wayAhead({cell: 48 * 20 + 45, queue: [[0, 2, 0, 0, 0, 9999]]}, 48, 6)[0]") == [48 * 20 + x for x in (45, 46, 47)]
    loop = shown.run("wayAhead({cell: 100, queue: [[0, 2, 0, 0, 1, 1], [3, 0, 0, 0, 1, 1], [0, 4, 0, 0, 1, 1]]}, 48, 5)")
    assert loop == [[100, 101, 100, 101], True]
    before = np.array(Image.open(io.BytesIO(picture(shown, "png", frame))).convert("RGB"), int)
    shown.run("replay.setOverlay('plans')")
    after = np.array(Image.open(io.BytesIO(picture(shown, "png", frame))).convert("RGB"), int)
    for side in range(2):
        rgb = shown.run(f"replay.board.rgb.side{side}")
        was, now = ((np.abs(image - rgb).max(-1) < 3) for image in (before, after))
        assert (now & ~was).sum() > 20, side


def test_zoom_and_pan(shown: Page) -> None:
    shown.run("replay.seek(60)")
    settle(shown)
    cell = 20 + 30 * 48
    x, y = place(shown, cell)
    for _ in range(3):
        shown.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-120)
    settle(shown)
    assert shown.run("replay.board.zoom") == 3 and shown.run(f"replay.board.cellAt({{clientX: {x}, clientY: {y}}})") == cell
    # what is under the pointer is found where it is drawn
    robot = shown.run("""[...replay.match.state.robots.values()].map(r => r.cell).find(c => {
        const b = replay.board, x = (c % 48 + .5) * b.cell - b.left, y = (Math.floor(c / 48) + .5) * b.cell - b.top;
        return x > 0 && y > 0 && x < b.canvas.width && y < b.canvas.height })""")
    if robot is not None:
        shown.mouse("move", *place(shown, robot))
        assert f"Cell {robot % 48}, {robot // 48}" in text(shown, "#details")
    shown.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
    for step in (10, 25, 40):
        shown.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - step, y=y - 2 * step, button="left", buttons=1)
    shown.call("Input.dispatchMouseEvent", type="mouseReleased", x=x - 40, y=y - 80, button="left", clickCount=1)
    settle(shown)
    assert shown.run(f"replay.board.cellAt({{clientX: {x - 40}, clientY: {y - 80}}})") == cell  # it went along
    assert shown.run("replay.view.marked") is None  # a drag is no click
    shown.run("document.getElementById('zoom-fit').click()")
    settle(shown)
    assert shown.run("[replay.board.zoom, replay.board.left, replay.board.top]") == [1, 0, 0]
    shown.press("z")
    shown.press("z")
    shown.press("x")
    assert shown.run("replay.board.zoom") == 1.5
    shown.press("0")
    assert shown.run("replay.board.zoom") == 1 and shown.run("document.getElementById('zoom-fit').hidden")


def test_two_fingers_zoom(shown: Page) -> None:
    x, y = place(shown, 24 + 24 * 48)
    for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 120), ("touchEnd", None)):
        points = [] if apart is None else [{"x": x - apart / 2, "y": y, "id": 0}, {"x": x + apart / 2, "y": y, "id": 1}]
        shown.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    settle(shown)
    assert shown.run("replay.board.zoom") > 1.5


def test_a_pinned_robot_stays_in_sight(shown: Page) -> None:
    number = shown.run("replay.match.seek(60).robots.keys().next().value")
    shown.run(f"replay.zoom.to(6), replay.pin({{kind: 'robot', id: {number}}})")
    for frame in (20, 45, 70):
        shown.run(f"replay.seek({frame})")
        settle(shown)
        if shown.run(f"replay.match.state.robots.has({number})"):
            x, y = place(shown, shown.run(f"replay.match.state.robots.get({number}).cell"))
            assert shown.run(f"replay.board.cellAt({{clientX: {x}, clientY: {y}}})") >= 0, frame


def test_the_list_of_events_jumps_and_follows(shown: Page) -> None:
    words = shown.run("[...document.querySelectorAll('.event')].map(e => e.innerText)")
    assert any("first lichen" in line for line in words) and any("built" in line for line in words)
    shown.run("[...document.querySelectorAll('.event')].find(e => e.innerText.includes('first lichen')).click()")
    settle(shown)
    frame = shown.run("replay.match.frame")
    lichen = shown.run("replay.match.header.curves.lichen.map(c => c.findIndex(v => v > 0))")
    assert frame in lichen and "first lichen" in text(shown, ".event[aria-current]")
    shown.press("ArrowLeft")
    settle(shown)
    assert "first lichen" not in text(shown, ".event[aria-current]")
    shown.run("(s => { s.value = 'lost'; s.dispatchEvent(new Event('change')) })(document.getElementById('event-kinds'))")
    lost = shown.run("replay.match.header.events.filter(e => e[1] === 'lost').length")
    assert shown.run("document.querySelectorAll('.event').length") == lost


def test_the_table_of_factories_is_the_replays(shown: Page, fought: Path) -> None:
    data = read_replay(fought)
    shown.run("replay.seek(65)")
    settle(shown)
    rows = shown.run("[...document.querySelectorAll('#factories tbody tr')].map(r => [...r.children].map(c => c.innerText))")
    factories = [f for player in PLAYERS for f in data["observations"][65]["factories"][player].values()]
    assert [int(row[0]) for row in rows] == sorted(f["strain_id"] for f in factories)
    for row in rows:
        factory = next(f for f in factories if f["strain_id"] == int(row[0]))
        stock = [factory["power"], *(factory["cargo"][name] for name in ("ice", "ore", "water", "metal"))]
        assert row[1:6] == [f"{amount:,}" for amount in stock]
    shown.run("document.querySelector('#factories tbody tr button').click()")
    assert text(shown, "#details").startswith(f"Factory {rows[0][0]}")


def test_the_end_is_told_beside_the_board(shown: Page) -> None:
    shown.press("End")
    settle(shown)
    board, banner = (
        shown.run(f"(b => [b.left, b.right])(document.getElementById('{name}').getBoundingClientRect())") for name in ("board", "banner")
    )
    assert banner[1] > banner[0] >= board[1]


def test_a_turn_and_spans_are_saved_as_files(shown: Page, tmp_path: Path) -> None:
    shown.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    shown.run("replay.seek(50)")
    settle(shown)
    turn = shown.run("replay.match.state.step")
    shown.press("s")
    assert shown.run("document.getElementById('save').open")
    shown.run("document.getElementById('save-to').value = document.getElementById('save-from').valueAsNumber + 7")
    for kind, name in (("png", f"turn{turn}.png"), ("gif", f"turn{turn}-{turn + 7}.gif"), ("video", f"turn{turn}-{turn + 7}.webm")):
        shown.run(f"document.getElementById('save-{kind}').click()")
        shown.wait("!replay.saving.busy", 60)
        assert name in text(shown, "#saving")
        path, end = tmp_path / f"match-seed3-{name}", time.monotonic() + 20
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert path.stat().st_size > LONG, kind
    assert (tmp_path / f"match-seed3-turn{turn}-{turn + 7}.webm").read_bytes()[:4] == b"\x1a\x45\xdf\xa3"  # EBML, as WebM begins
    gif = Image.open(tmp_path / f"match-seed3-turn{turn}-{turn + 7}.gif")
    png = Image.open(tmp_path / f"match-seed3-turn{turn}.png").convert("RGB")
    assert getattr(gif, "n_frames", 1) == 8 and gif.size == png.size and gif.info["duration"] == 100
    # the same picture, but for the palette; and the last one shows another turn
    first = np.array(gif.convert("RGB"), int)
    assert np.abs(first - np.array(png, int)).mean() < 4
    gif.seek(7)
    assert (np.array(gif.convert("RGB"), int) != first).any(-1).sum() > 50
    for values, words in (
        ((30, 20), "Turn 30 is after turn 20"),
        ((0, 5000), "The turns of this match are"),
        (("''", 20), "The turns of this match are"),
    ):
        shown.run(f"document.getElementById('save-from').value = {values[0]}, document.getElementById('save-to').value = {values[1]}")
        shown.run("document.getElementById('save-gif').click()")
        shown.wait("!replay.saving.busy")
        assert words in text(shown, "#saving")
