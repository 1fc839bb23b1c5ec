"""The replay page: a match as one HTML file that needs nothing else, no network included.

`recording` reads replays of ours, of the official runner and of Kaggle; `pack` turns them into what the page reads, a
line of JSON a turn, each the difference to the turn before. The page itself is `page.html`, `page.css` and the scripts.
"""

from __future__ import annotations

import base64
import html
import zlib
from dataclasses import dataclass
from pathlib import Path

from arena.replay_page.pack import packed_lines
from arena.replay_page.recording import Recording, damage_told, read_recording
from arena.web_page import fill_page
from submission.files import write_whole

FOLDER = Path(__file__).resolve().parent
SCRIPTS = (
    "decode.js",
    "words.js",
    "board.js",
    "overlays.js",
    "zoom.js",
    "charts.js",
    "details.js",
    "events.js",
    "save.js",
    "page.js",
)  # in this order


@dataclass(frozen=True)
class PageReport:
    """What was written; `frames` are the states shown, one more than turns played, the opening included."""

    path: str
    size_bytes: int
    frames: int
    names: tuple[str, str]
    reason: str


def write_page(replay: Path | str, output: Path | str = "page.html") -> PageReport:
    """Write the page of a replay (ours, the official runner's, or a Kaggle episode; JSON, gzip or not).

    Raises `ValueError` with a sentence for a file that is no whole replay of this game, and for an output that cannot be
    written; then nothing is.
    """
    recording = read_recording(replay)
    with damage_told(replay):
        text = page(recording)
    output = Path(output)
    if output.is_dir():
        raise ValueError(f"The page {output} is a folder; name a file to write.")
    data = text.encode()
    write_whole(output, data)
    return PageReport(str(output), len(data), len(recording.observations), recording.names, recording.reason)


def page(recording: Recording) -> str:
    """The whole HTML text. Same recording, same text."""
    lines = "\n".join(packed_lines(recording))
    data = base64.b64encode(zlib.compress(lines.encode(), 9)).decode()
    parts = {
        "TITLE": html.escape(f"{recording.names[0]} against {recording.names[1]}"),
        "STYLE": _source("page.css"),
        "SCRIPT": "\n".join([_library("gifenc"), *(_source(name) for name in SCRIPTS)]),
        "DATA": data,
    }
    return fill_page(FOLDER / "page.html", parts)


def _library(name: str) -> str:
    """A library of `vendor`, a CommonJS module, as a constant of its name, under its licence."""
    licence = _source(f"vendor/{name}.LICENSE.md").replace("*/", "* /")
    return f"/* {name}\n{licence}*/\nconst {name} = ((exports) => {{\n{_source(f'vendor/{name}.js')}\nreturn exports;\n}})({{}});"


def _source(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
