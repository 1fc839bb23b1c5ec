"""Runs on one page: their curves over steps or time, what was changed, league and alarms, in one HTML file without a network.

Curves come from `metrics.jsonl`, settings and league from the latest checkpoint, alarms from `alarms.jsonl`, command and machine from
`sessions.jsonl`. The page is `report.html`, `report.css` and `report.js`; uPlot, in `vendor` under its licence, draws the curves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from arena.web_page import fill_page
from submission.files import write_whole
from training.report.curves import PANELS, Panel, curves_of, other_panels
from training.report.runs import ReportedRun, read_run
from training.report.tables import alarms_list, league_table, settings_tables, summary_table

HERE = Path(__file__).resolve().parent
MOST = 8  # runs of a page, one for each colour


def write_report(runs: Sequence[Path], output: Path) -> int:
    """Write the page of run folders; returns the number of plots. Raises `CheckpointError` or `ValueError` if one is no run."""
    if not 1 <= len(runs) <= MOST:
        raise ValueError(f"{len(runs)} runs are named; a report shows 1 to {MOST}.")
    found = named_apart([read_run(run) for run in runs])
    shown = [panel for panel in (plot_of(panel, found) for panel in PANELS) if panel]
    others = {panel.title: panel for run in found for panel in other_panels(run.lines)}
    more = [panel for panel in (plot_of(others[title], found) for title in sorted(others)) if panel]
    write_whole(output, page_of(found, shown, more))
    return len(shown) + len(more)


def named_apart(runs: list[ReportedRun]) -> list[ReportedRun]:
    """The runs, those of one name by their folders. Raises `ValueError` if one is named twice."""
    folders = [run.folder.resolve() for run in runs]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ValueError(f"{folder} is named twice; name each run once.")
    names = [run.name for run in runs]
    return [replace(run, name=str(run.folder)) if names.count(run.name) > 1 else run for run in runs]


def plot_of(panel: Panel, runs: Sequence[ReportedRun]) -> dict[str, Any] | None:
    """What the page draws of a panel: curves of [run, label, steps, seconds, values]; None if no run has any."""
    curves = []
    for i, run in enumerate(runs):
        for label, (steps, seconds, values) in curves_of(panel, run.lines, run.seconds).items():
            curves.append([i, label, steps.round().tolist(), seconds.round(2).tolist(), [float(f"{value:.6g}") for value in values]])
    log = panel.log and all(value > 0 for curve in curves for value in curve[4])
    return {"title": panel.title, "log": log, "curves": curves} if curves else None


def page_of(runs: Sequence[ReportedRun], shown: Sequence[dict[str, Any]], more: Sequence[dict[str, Any]]) -> str:
    """The whole HTML text."""
    data = json.dumps({"runs": [run.name for run in runs], "panels": shown, "more": more}, separators=(",", ":"), allow_nan=False)
    title = " and ".join(run.name for run in runs)
    parts = {
        "TITLE": escape(f"Training of {title}"),
        "STYLE": source("vendor/uPlot.min.css") + source("report.css"),
        "HEADING": escape(title),
        "SUMMARY": summary_table(runs),
        "ALARMS": alarms_list(runs),
        "LEAGUE": "".join(league_table(run.name, run.league) for run in runs if run.league),
        "SETTINGS": settings_tables(runs),
        "DATA": data.replace("<", "\\u003c"),
        "SCRIPT": f"/*\n{source('vendor/uPlot.LICENSE')}*/\n{source('vendor/uPlot.iife.min.js')}\n{source('report.js')}",
    }
    return fill_page(HERE / "report.html", parts)


def source(name: str) -> str:
    """A file of the page."""
    return (HERE / name).read_text(encoding="utf-8")
