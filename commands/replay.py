"""Make a page to look at a match: the board turn by turn, curves, queues, and what an agent thought if recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from arena.process import printable
from arena.replay_page import write_page
from commands.options import parse


@dataclass(frozen=True)
class Replay:
    file: tyro.conf.Positional[Path]
    """A replay of ours or of the official runner, or a Kaggle episode: JSON, compressed or not."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("page.html")
    """The page to write; it is one file and needs no network."""


def run(argv: list[str]) -> None:
    args = parse(Replay, argv, "replay", __doc__)
    report = write_page(args.file, args.output)
    names = " against ".join(map(printable, report.names))
    turns = f"{report.frames - 1} turns of {names}, the opening included"
    print(f"{report.path}: {report.size_bytes / 1e6:.2f} MB, {turns}. {printable(report.reason, 1000)}")
