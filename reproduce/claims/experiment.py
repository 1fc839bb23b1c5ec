"""What the experiments have in common: rows, resumable runs, judged claims, and the page that is made of them."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure

from arena.plots import save_png
from reproduce.claims.plots import return_curves
from reproduce.tasks.learn import Learner
from submission.files import write_whole
from training.run.progress import duration
from training.run.runs import Run, read_run, revision, run_all

NAMES = ("bun", "communication", "adaps", "sparse", "mast")
VARIANTS = ("communication_iql",)  # found by an option of one of them
CURVE = ("env_steps", "return", "cpu_seconds")
FINAL_EPISODES = 256
Rows = dict[str, list[Run]]  # stored runs by row, each row's by seed


@dataclass(frozen=True)
class Options:
    """The options of `main.py reproduce bun|communication|adaps|sparse|mast`."""

    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of every row."""
    rows: tuple[str, ...] = ()
    """Only these rows (all if none is named); an unknown one lists them."""
    scale: float = 1.0
    """Times the environment steps of every run; other scales need another folder of runs."""
    jobs: int = 2
    """Runs at the same time, each a process with one thread."""
    runs: Path = Path("runs/reproduce")
    """Folder of the runs, a folder each experiment, one JSON each run; those that are there are not run again."""
    out: Path | None = None
    """Folder of the page and the plots (default: that of the experiment's runs; `--out docs/results` publishes them)."""
    report_only: bool = False
    """Run nothing, only write the page anew."""


class Row(NamedTuple):
    title: str
    config: Any  # a dataclass, of the experiment's learner: task, seed, env_steps and its own


class Verdict(NamedTuple):
    ours: str  # the numbers
    holds: bool | None  # None: too few seeds to say


class Claim(NamedTuple):
    """A claim of a paper and how it is judged; `reason` says why it does not hold, where it does not."""

    text: str
    paper: str
    needs: tuple[str, ...]  # rows
    judge: Callable[[Rows], Verdict]
    reason: str = ""
    counted: bool = False  # counted in the network, not learned, so that one seed says it


class Experiment(NamedTuple):
    name: str
    title: str
    about: str  # markdown
    rows: Mapping[str, Row]
    measure: Callable[[Any], dict[str, Any]]  # of a finished run, plain values, beside `final`
    claims: Sequence[Claim]
    plots: Callable[[Rows], dict[str, tuple[str, Figure]]]  # beside the learning curves: end of the file name, caption, figure
    panels: Mapping[str, tuple[str, ...]]  # title of a panel of learning curves -> its rows
    learner: Callable[[Any], Any] = Learner  # of a row's config; has `run` and `evaluate`
    plays: str = "actions sampled"  # in evaluations
    command: str = ""  # what to type after `reproduce`, where it is not the name


class Job(NamedTuple):
    experiment: str
    row: str
    config: Any
    path: Path

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.row}-{self.config.seed}"


def reproduce(name: str, options: Options) -> list[Path]:
    """Make the runs of an experiment that are missing, then write its page and plots; returns the files written.

    Raises `ValueError` for options that do not fit, and for a stored run that was made with other settings.
    """
    experiment = find(name)
    jobs = jobs_of(experiment, options)
    if not options.report_only:
        run_all(jobs, options.jobs, make, stored, line, lambda: None)
    return write_page(experiment, options)


def find(name: str) -> Experiment:
    """An experiment by name; imported when it is asked for."""
    if name not in (*NAMES, *VARIANTS):
        raise ValueError(f"There is no experiment {name!r}; accepted are {', '.join(NAMES)}.")
    return importlib.import_module(f"reproduce.claims.{name}").EXPERIMENT


def jobs_of(experiment: Experiment, options: Options) -> list[Job]:
    """All runs, by seed, then row, so that early results compare rows."""
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise ValueError(f"seeds is {' '.join(map(str, options.seeds))!r}; at least one is needed, each once.")
    if options.jobs < 1 or options.scale <= 0:
        raise ValueError(f"jobs is {options.jobs} and scale {options.scale}; jobs must be at least 1, scale more than 0.")
    for name in options.rows:
        if name not in experiment.rows:
            raise ValueError(f"There is no row {name!r} of {experiment.name}; accepted are {', '.join(experiment.rows)}.")
    chosen = {name: row for name, row in experiment.rows.items() if not options.rows or name in options.rows}
    jobs = []
    for seed in options.seeds:
        for name, row in chosen.items():
            steps = max(1, round(row.config.env_steps * options.scale))
            config = dataclasses.replace(row.config, seed=seed, env_steps=steps)
            jobs.append(Job(experiment.name, name, config, options.runs / experiment.name / f"{name}-{seed}.json"))
    return jobs


def make(job: Job, show: bool) -> Run:
    """Train one run, and measure it; plain JSON values. Seconds are this process's CPU time."""
    torch.set_num_threads(1)
    began, code = time.perf_counter(), revision()
    experiment = find(job.experiment)
    learner = experiment.learner(job.config)
    each = (lambda steps, value: print(f"  {job.name}: {steps:,} steps, return {value:.2f}", flush=True)) if show else None
    result = learner.run(each)
    measures = {
        "final": learner.evaluate(FINAL_EPISODES, seed=1),
        "random": learner.random_return(FINAL_EPISODES, seed=1),
        **experiment.measure(learner),
    }
    return {
        "row": job.row,
        "seed": job.config.seed,
        "config": plain(job.config),
        "revision": code,
        **result,
        "measures": measures,
        "wall_seconds": time.perf_counter() - began,
    }


def stored(job: Job) -> bool:
    """Whether the run is there. Raises `ValueError` if one is, but made with other settings."""
    if not job.path.exists():
        return False
    before, now = read_run(job.path, CURVE)["config"], plain(job.config)
    odd = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if odd:
        raise ValueError(
            f"{job.path} was run with other settings ({', '.join(odd)}); delete it, give another folder with --runs, "
            "or write the page of what is there with --report-only."
        )
    return True


def line(run: Run) -> str:
    """A finished run in one line."""
    steps = run["curve"]["env_steps"][-1]
    return f"{run['row']}-{run['seed']}: {steps:,} steps, return {run['measures']['final']:.2f}, {duration(run['train_seconds'])}"


def plain(config: Any) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


# ------------------------------------------------------------------------------------------------------------- numbers


def final(run: Run) -> float:
    """Return of the trained policy, over more episodes than the curve's."""
    return run["measures"]["final"]


def gain(run: Run) -> float:
    """What learning added to the return of the untrained policy, which plays almost at random."""
    return final(run) - run["curve"]["return"][0]


def mean(runs: Sequence[Run], of: Callable[[Run], float] = final) -> float:
    return statistics.fmean(of(run) for run in runs)


def spread(runs: Sequence[Run], of: Callable[[Run], float] = final) -> float:
    """Sample deviation over seeds; 0 of a single one."""
    return statistics.stdev([of(run) for run in runs]) if len(runs) > 1 else 0.0


def told(runs: Sequence[Run], of: Callable[[Run], float] = final, digits: int = 2) -> str:
    """Mean and deviation; of a single seed just the number."""
    number = f"{mean(runs, of):.{digits}f}"
    return f"{number} ± {spread(runs, of):.{digits}f}" if len(runs) > 1 else number


def difference(one: Sequence[Run], other: Sequence[Run], of: Callable[[Run], float] = final) -> tuple[float, float]:
    """Difference of the means, and its standard error."""
    error = math.sqrt(spread(one, of) ** 2 / len(one) + spread(other, of) ** 2 / len(other))
    return mean(one, of) - mean(other, of), error


def ahead(one: str, other: str, of: Callable[[Run], float] = final, digits: int = 2) -> Callable[[Rows], Verdict]:
    """Judges that row `one` is ahead of `other`, see `clearly_more`."""

    def judge(rows: Rows) -> Verdict:
        ours = f"{told(rows[one], of, digits)} against {told(rows[other], of, digits)}"
        return Verdict(ours, clearly_more(rows[one], rows[other], of))

    return judge


def clearly_more(one: Sequence[Run], other: Sequence[Run], of: Callable[[Run], float] = final) -> bool | None:
    """Whether the means differ by more than two standard errors of the difference; `None` if either has a single seed."""
    if min(len(one), len(other)) < 2:
        return None
    by, error = difference(one, other, of)
    return by > 2 * error and by > 0


def keeps(one: str, other: str, share: float) -> Callable[[Rows], Verdict]:
    """Judges that row `one` has at least `share` of what learning gains in row `other`."""

    def judge(rows: Rows) -> Verdict:
        reference = mean(rows[other], gain)
        if reference <= 0:
            return Verdict(f"{other} itself learned nothing ({told(rows[other])})", False)
        ratio = mean(rows[one], gain) / reference
        ours = f"{100 * ratio:.1f} % of its gain ({told(rows[one])} against {told(rows[other])})"
        return Verdict(ours, ratio >= share)

    return judge


# ---------------------------------------------------------------------------------------------------------------- page


def write_page(experiment: Experiment, options: Options) -> list[Path]:
    """Write the page and the plots from all stored runs; returns their paths. Raises `ValueError` if there are none."""
    rows: Rows = {}
    runs = options.runs / experiment.name
    out = options.out or runs
    for name in experiment.rows:
        paths = sorted(runs.glob(f"{name}-[0-9]*.json"))
        found = sorted((read_run(path, CURVE) for path in paths), key=lambda run: run["seed"])
        if found:
            rows[name] = found
    if not rows:
        raise ValueError(f"There are no finished runs in {runs}; run some first.")
    titles = {name: row.title for name, row in experiment.rows.items()}
    panels = {title: {titles[name]: rows[name] for name in names if name in rows} for title, names in experiment.panels.items()}
    figures = {"curves": ("Return over environment steps: mean over seeds, lowest to highest.", return_curves(panels))}
    figures |= experiment.plots(rows)
    images = []
    for end, (caption, figure) in figures.items():
        path = out / f"{experiment.name}-{end}.png"
        save_png(figure, path)
        images.append((caption, path))
    page = out / f"{experiment.name}.md"
    write_whole(page, report(experiment, rows, [(caption, path.name) for caption, path in images]))
    return [page, *(path for _, path in images)]


def report(experiment: Experiment, rows: Rows, images: Sequence[tuple[str, str]]) -> str:
    """The page as markdown; everything on it is computed from `rows`."""
    seeds = sorted({run["seed"] for found in rows.values() for run in found})
    command = f"python main.py reproduce {experiment.command or experiment.name} --seeds {' '.join(map(str, seeds))}" + narrowed(
        experiment, rows
    )
    parts = [
        f"# {experiment.title}",
        f"```\n{command}\n```",
        f"Written by this command from its stored runs, {sum(map(len, rows.values()))} of them. " + experiment.about,
        "## Claims",
        "*Ours* is mean ± sample deviation over seeds. A policy's *gain* is its return less that of the untrained policy. One row is "
        "*ahead* of another if the means differ by more than twice the standard error of their difference.",
        claims_table(experiment, rows),
        *failures(experiment, rows),
        "## Runs",
        runs_table(experiment, rows),
        "## Plots",
        *(f"{caption}\n\n![{caption}]({file})" for caption, file in images),
        "## How it was run",
        how_run(rows, seeds, experiment.plays),
    ]
    return "\n\n".join(parts) + "\n"


def narrowed(experiment: Experiment, rows: Rows) -> str:
    """The options of a command that made only some rows, or runs of another length."""
    options = f" --rows {' '.join(rows)}" if len(rows) < len(experiment.rows) else ""
    scales = {f"{run['config']['env_steps'] / experiment.rows[name].config.env_steps:.3g}" for name in rows for run in rows[name]}
    return options + (f" --scale {scales.pop()}" if len(scales) == 1 and scales != {"1"} else "")


def judged(experiment: Experiment, rows: Rows) -> list[tuple[Claim, Verdict | None]]:
    """Every claim with its verdict; `None` where a row that it needs was not run."""
    out: list[tuple[Claim, Verdict | None]] = []
    for claim in experiment.claims:
        verdict = claim.judge(rows) if all(name in rows for name in claim.needs) else None
        if verdict is not None and not claim.counted and min(len(rows[name]) for name in claim.needs) < 2:
            verdict = verdict._replace(holds=None)
        out.append((claim, verdict))
    return out


def claims_table(experiment: Experiment, rows: Rows) -> str:
    lines = ["| claim | paper | ours | holds |", "|---|---|---|---|"]
    for claim, verdict in judged(experiment, rows):
        ours = "not run" if verdict is None else verdict.ours
        holds = "-" if verdict is None else {True: "yes", False: "**no**", None: "one seed cannot say"}[verdict.holds]
        lines.append(f"| {claim.text} | {claim.paper} | {ours} | {holds} |")
    return "\n".join(lines)


def failures(experiment: Experiment, rows: Rows) -> list[str]:
    """What was found about claims that do not hold."""
    found = [claim for claim, verdict in judged(experiment, rows) if verdict is not None and verdict.holds is False]
    if not found:
        return []
    return ["### Claims that do not hold", "\n".join(f"- *{claim.text}*: {claim.reason or 'no reason was found yet.'}" for claim in found)]


def runs_table(experiment: Experiment, rows: Rows) -> str:
    counted = {"parameters": "parameters", "flops": "FLOPs a decision"}
    if any("update_flops" in run["stats"] for found in rows.values() for run in found):
        counted["update_flops"] = "FLOPs of learning, a batch of one time step"
    lines = [f"| row | seeds | return | gain | {' | '.join(counted.values())} | training, CPU |", "|---|" + "---:|" * (len(counted) + 4)]
    for name, found in rows.items():
        stats = [statistics.fmean(run["stats"][key] for run in found) for key in counted]
        seconds = statistics.fmean(run["train_seconds"] for run in found)
        cells = (experiment.rows[name].title, len(found), told(found), f"{mean(found, gain):.2f}", *(f"{value:,.0f}" for value in stats))
        lines.append(f"| {' | '.join(map(str, cells))} | {duration(seconds)} |")
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
