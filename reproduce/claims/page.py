"""The page of an experiment: its claims with their verdicts, its runs and plots, all computed from the runs shown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from arena.plots import save_png
from reproduce.claims.experiment import CURVE, FINAL_EPISODES, Experiment, Options, find, make_runs
from reproduce.claims.judges import Claim, Judged, Rows, gain, mean, rise, rising, told
from reproduce.claims.kept import KEPT, read_rows, write_kept
from reproduce.claims.plots import return_curves
from reproduce.verdicts import HOLDS, NOT_SHOWN, REFUTED, verdicts
from submission.files import write_whole
from training.run.progress import duration

EXPLAINED = (
    "*Ours* is mean ± sample deviation over seeds; a *gain* is a return less that of random play. The *effect* is a difference or a "
    "ratio with its 95 % interval, seeds that both rows share being pairs. A claim *holds* or is *refuted* if a t-test says so after "
    "Holm's correction for all claims of the page that are tested (*p*, two-sided and corrected); else it is *not shown*, and *would "
    "show* is the distance from the claim's bound that so many seeds show four times in five, tested alone. What is counted in the "
    "network has no interval. Rows are *still rising* if their last quarter added to the return (one-sided, 2.5 %, alone)."
)


class Settled(NamedTuple):
    """A claim with its verdict."""

    claim: Claim
    judged: Judged | None  # `None`: a row that it needs was not run
    verdict: str
    p: float | None  # corrected; `None` where nothing was tested


def reproduce(name: str, options: Options) -> list[Path]:
    """Make the runs of an experiment that are missing, then write its page and plots; returns the files written.

    Raises `ValueError` for options that do not fit, and for a stored run that was made with other settings.
    """
    experiment = find(name)
    if not options.report_only:
        make_runs(experiment, options)
    return write_page(experiment, options)


def write_page(experiment: Experiment, options: Options) -> list[Path]:
    """Write the page and the plots from all stored runs; returns their paths. Raises `ValueError` if there are none."""
    folder = options.runs / experiment.name
    rows = read_rows(folder, KEPT / f"{experiment.name}.jsonl", list(experiment.rows), CURVE)
    out = options.out or folder
    drawn = figures(experiment, rows)
    written = []
    for name, (_, figure) in drawn.items():
        written.append(out / name)
        save_png(figure, written[-1])
    page = out / f"{experiment.name}.md"
    write_whole(page, report(experiment, rows, {name: caption for name, (caption, _) in drawn.items()}))
    if options.out is not None:
        written.append(out / "runs" / f"{experiment.name}.jsonl")
        write_kept(written[-1], (run for found in rows.values() for run in found))
    return [page, *written]


def figures(experiment: Experiment, rows: Rows) -> dict[str, tuple[str, Figure]]:
    """File name -> caption and figure."""
    titles = {name: row.title for name, row in experiment.rows.items()}
    panels = {title: {titles[name]: rows[name] for name in names if name in rows} for title, names in experiment.panels.items()}
    curves = ("Return over environment steps: mean over seeds, lowest to highest.", return_curves(panels))
    return {f"{experiment.name}-{end}.png": made for end, made in ({"curves": curves} | experiment.plots(rows)).items()}


def settle(claims: Sequence[Claim], rows: Rows) -> list[Settled]:
    """Every claim with its verdict; those that are tested are corrected together."""
    judged = [claim.judge(rows) if all(name in rows for name in claim.needs) else None for claim in claims]
    tested = [found.finding if found is not None else None for found in judged]
    out = []
    for claim, found, finding, (verdict, p) in zip(claims, judged, tested, verdicts(tested)):
        if found is not None and found.exact is not None:
            verdict = HOLDS if found.exact else REFUTED
        out.append(Settled(claim, found, verdict, None if finding is None else p))
    return out


# -------------------------------------------------------------------------------------------------------------- markdown


def report(experiment: Experiment, rows: Rows, images: Mapping[str, str]) -> str:
    """The page as markdown; everything on it is computed from `rows`. `images` has the captions of its files."""
    seeds = sorted({run["seed"] for found in rows.values() for run in found})
    command = f"python main.py reproduce {experiment.command or experiment.name} --seeds {' '.join(map(str, seeds))}"
    settled = settle(experiment.claims, rows)
    parts = [
        f"# {experiment.title}",
        f"```\n{command}{narrowed(experiment, rows)}\n```",
        f"Written by this command from its stored runs, {sum(map(len, rows.values()))} of them "
        f"([runs/{experiment.name}.jsonl](runs/{experiment.name}.jsonl), a line each; with `--report-only` from these). {experiment.about}",
        "## Claims",
        EXPLAINED,
        counts(settled),
        claims_table(settled),
        *reversals(settled),
        "## Runs",
        runs_table(experiment, rows),
        "## Plots",
        *(f"{caption}\n\n![{caption}]({name})" for name, caption in images.items()),
        "## How it was run",
        how_run(rows, seeds, experiment.plays),
    ]
    return "\n\n".join(parts) + "\n"


def narrowed(experiment: Experiment, rows: Rows) -> str:
    """The options of a command that made only some rows, or runs of another length."""
    options = f" --rows {' '.join(rows)}" if len(rows) < len(experiment.rows) else ""
    scales = {f"{run['config']['env_steps'] / experiment.rows[name].config.env_steps:.3g}" for name in rows for run in rows[name]}
    return options + (f" --scale {scales.pop()}" if len(scales) == 1 and scales != {"1"} else "")


def counts(settled: Sequence[Settled]) -> str:
    """How many claims hold, are refuted, are not shown."""
    run = [entry for entry in settled if entry.judged is not None]
    numbers = ", ".join(f"{sum(entry.verdict == kind for entry in run)} {kind}" for kind in (HOLDS, REFUTED, NOT_SHOWN))
    tested = sum(entry.p is not None for entry in run)
    missing = len(settled) - len(run)
    return f"Of {len(run)} claims: {numbers}; {tested} of them were tested." + (f" {missing} more were not run." if missing else "")


def claims_table(settled: Sequence[Settled]) -> str:
    lines = ["| claim | paper | ours | effect, 95 % interval | p | verdict | would show; remarks |", "|---|---|---|---|---:|---|---|"]
    for claim, judged, verdict, p in settled:
        if judged is None:
            lines.append(f"| {claim.text} | {claim.paper} | not run | | | | |")
            continue
        notes = (would_show(judged), *judged.remarks) if verdict == NOT_SHOWN else judged.remarks
        kind = f"**{verdict}**" if verdict == REFUTED else verdict
        cells = (claim.text, claim.paper, judged.ours, effect(judged), chance(p), kind)
        lines.append(f"| {' | '.join(cells)} | {'; '.join(note for note in notes if note)} |")
    return "\n".join(lines)


def chance(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def effect(judged: Judged) -> str:
    """The number that was tested, with its interval."""
    finding = judged.finding
    if finding is None:
        return "" if judged.exact is not None else "too few seeds"
    return f"{number(finding.estimate, judged.percent)} [{number(finding.low, judged.percent)}, {number(finding.high, judged.percent)}]"


def would_show(judged: Judged) -> str:
    if judged.finding is None or math.isnan(judged.finding.shows):
        return ""
    return f"{number(judged.finding.shows, judged.percent)} ({judged.finding.n} seeds)"


def number(value: float, percent: bool) -> str:
    return f"{100 * value:.1f} %" if percent else f"{value:.2f}"


def reversals(settled: Sequence[Settled]) -> list[str]:
    """Claims of which the opposite is shown, by the effect."""
    found = [entry for entry in settled if entry.verdict == REFUTED and entry.judged is not None]
    if not found:
        return []
    lines = [f"- {claim.text}: {judged.ours}; {effect(judged) or 'counted'}." for claim, judged, _, _ in found if judged is not None]
    return ["### Refuted", "\n".join(lines)]


def runs_table(experiment: Experiment, rows: Rows) -> str:
    counted = {"parameters": "parameters", "flops": "FLOPs a decision"}
    if any("update_flops" in run["stats"] for found in rows.values() for run in found):
        counted["update_flops"] = "FLOPs of learning, a batch of one time step"
    titles = ("row", "seeds", "return", "gain over random play", "last quarter added", *counted.values(), "training, CPU")
    lines = [f"| {' | '.join(titles)} |", "|---|" + "---:|" * (len(titles) - 1)]
    for name, found in rows.items():
        stats = [statistics.fmean(run["stats"][key] for run in found) for key in counted]
        seconds = statistics.fmean(run["train_seconds"] for run in found)
        added = f"{mean(found, rise):+.2f}{', rising' if rising(found) else ''}"
        cells = (f"{experiment.rows[name].title} (`{name}`)", len(found), told(found), f"{mean(found, gain):.2f}", added)
        lines.append(f"| {' | '.join(map(str, cells))} | {' | '.join(f'{value:,.0f}' for value in stats)} | {duration(seconds)} |")
    return "\n".join(lines)


def how_run(rows: Rows, seeds: Sequence[int], plays: str) -> str:
    runs = [run for found in rows.values() for run in found]
    steps: dict[str, set[int]] = {}
    for run in runs:
        steps.setdefault(run["config"]["task"], set()).add(run["config"]["env_steps"])
    budgets = "; ".join(f"{task} {', '.join(f'{n:,}' for n in sorted(found))}" for task, found in steps.items())
    revisions = ", ".join(sorted({run["revision"] for run in runs}))
    total = sum(run["train_seconds"] for run in runs)
    return (
        f"Seeds {', '.join(map(str, seeds))}; environment steps a run: {budgets}. Revision {revisions}. All runs together took "
        f"{duration(total)} of one core for training. Returns are means over {FINAL_EPISODES} unseen episodes and over agents, {plays}. "
        "Parameters are those that learn and are in use; FLOPs are multiplications and additions of one agent's decision, a "
        "linear layer (2 I - 1) O times its density."
    )
