"""Make a page of runs, going on or ended: curves over steps or time, changed settings, ratings of a league, alarms, machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from commands.options import check_output, parse
from training.report import write_report


@dataclass(frozen=True)
class Report:
    runs: tyro.conf.Positional[tuple[Path, ...]] = (Path("latest"),)
    """Run folders of `train`, `imitate` or `tasks`, or `latest`; several are drawn into the same plots."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report.html")
    """The page to write; it is one file and needs no network."""


def run(argv: list[str]) -> None:
    args = parse(Report, argv, "report", __doc__)
    check_output(args.output)
    plots = write_report(args.runs, args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB, {plots} plots")
