"""Make a page of a run, going on or ended: curves, ratings of its league, alarms, settings, revision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from commands.options import check_output, parse
from training.run.report import write_report


@dataclass(frozen=True)
class Report:
    run_dir: tyro.conf.Positional[Path] = Path("latest")
    """A run folder, or `latest`."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report.html")
    """The page to write; it is one file and needs no network."""


def run(argv: list[str]) -> None:
    args = parse(Report, argv, "report", __doc__)
    check_output(args.output)
    plots = write_report(args.run_dir, args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB, {plots} plots")
