"""The report's tables as HTML: summary, alarms, league, settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from training.league.league import Member
from training.report.runs import ReportedRun


def summary_table(runs: Sequence[ReportedRun]) -> str:
    """What the runs are and how far they came, a column each."""
    names = dict.fromkeys(name for run in runs for name in run.facts)
    rows = [(escape(name), *(escape(run.facts.get(name, "")) for run in runs)) for name in names]
    return table(("", *(run_mark(i, run.name) for i, run in enumerate(runs))), rows)


def run_mark(i: int, name: str) -> str:
    """A run's name with its colour."""
    return f"<span class='mark run{i}'></span>{escape(name)}"


def alarms_list(runs: Sequence[ReportedRun]) -> str:
    """The alarms as boxes."""
    several = len(runs) > 1
    told = "".join(
        f"<div class='alarm'>{escape(run.name) + ', step' if several else 'Step'} {alarm['step']:,}: {escape(alarm['alarm'])}</div>"
        for run in runs
        for alarm in run.alarms
    )
    return f"<h2>Alarms</h2>{told}" if told else ""


def league_table(name: str, league: dict[str, Any]) -> str:
    """A run's pool, the strongest first."""
    members = sorted((Member(**member) for member in league["members"]), key=lambda member: -member.rating)
    rows = [("<b>the policy</b>", f"{league['rating']:.1f} ± {1.96 * league['sigma']:.1f}", "", str(league["games"]), "")]
    for member in members:
        dropped = " (dropped)" if member.retired else ""
        rate = f"{member.win_rate:.0%}" if member.total else ""
        spread = f"{member.rating:.1f} ± {1.96 * member.sigma:.1f}"
        rows.append((escape(member.name) + dropped, spread, rate, str(member.total), f"{member.entered:,}"))
    head = ("player", "rating", "the policy's win rate lately", "games", "entered at step")
    return f"<h2>League of {escape(name)}</h2>{table(head, rows, 'numbers')}"


def settings_tables(runs: Sequence[ReportedRun]) -> str:
    """First what is not as by default in some run, or not the same in all of them; the rest folded."""
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    first = [name for name in names if any(run.changed(name) for run in runs) or len({shown(run, name) for run in runs}) > 1]
    rest = [name for name in names if name not in first]
    head = ("", *(run_mark(i, run.name) for i, run in enumerate(runs)), "by default")
    told = table(head, [settings_row(name, runs) for name in first]) if first else "<p>All settings are those by default.</p>"
    more = table(head[:-1], [settings_row(name, runs)[:-1] for name in rest])
    return f"<h2>Settings</h2>{told}<details><summary>{len(rest)} settings as by default</summary>{more}</details>"


def settings_row(name: str, runs: Sequence[ReportedRun]) -> tuple[str, ...]:
    """A setting of every run, changed ones in bold, and what it is by default."""
    cells = [f"<b>{escape(shown(run, name))}</b>" if run.changed(name) else escape(shown(run, name)) for run in runs]
    usual = dict.fromkeys(words(run.usual[name]) for run in runs if name in run.usual)
    return (escape(name), *cells, escape(", ".join(usual)))


def shown(run: ReportedRun, name: str) -> str:
    """A setting as it is written; empty where the run has none of that name."""
    return words(run.settings[name]) if name in run.settings else ""


def words(value: Any) -> str:
    """A setting's value."""
    if isinstance(value, list):
        return " ".join(map(words, value)) or "none"
    return "none" if value is None else repr(value) if isinstance(value, float) and not math.isfinite(value) else str(value)


def table(head: Iterable[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """An HTML table of cells that are HTML."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='wide'><table class='{kind}'><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
