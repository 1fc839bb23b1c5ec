"""A replay page in the test's browser: opening it, waiting until it is drawn, reading and pointing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.browser import Page

READY = "document.documentElement.dataset.ready"


def show(tab: Page, path: Path, address: str = "") -> None:
    """Open a page of `write_page`, with nothing said so far, and wait until it has drawn itself."""
    tab.messages.clear()
    tab.requests.clear()
    tab.go(path, address)
    tab.wait(READY)
    settle(tab)


def settle(tab: Page) -> None:
    """Until what was asked for has been drawn, robots that glide and a window of another size included."""
    tab.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    tab.wait("!replay.waiting")


def text(tab: Page, selector: str) -> str:
    """What is to be read in an element."""
    return tab.run(f"document.querySelector({json.dumps(selector)}).innerText")


def place(tab: Page, cell: int) -> tuple[float, float]:
    """The middle of a cell of the board, zoomed or not, in the window."""
    return tuple(
        tab.run(f"""(() => {{
            const b = replay.board, box = b.canvas.getBoundingClientRect(), scale = box.width / b.canvas.width, size = replay.match.size;
            const at = (n, from) => ((n + 0.5) * b.cell - from) * scale;
            return [box.left + at({cell} % size, b.left), box.top + at(Math.floor({cell} / size), b.top)];
        }})()""")
    )
