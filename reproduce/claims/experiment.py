"""What the experiments have in common: rows, options, and runs that are resumed one by one."""

from __future__ import annotations

import dataclasses
import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure

from reproduce.claims.judges import Claim, Rows
from reproduce.tasks.learn import Learner
from training.run.progress import duration
from training.run.runs import Run, read_run, revision, run_all

NAMES = ("bun", "communication", "adaps", "sparse", "mast")
VARIANTS = ("communication_iql",)  # found by an option of one of them
CURVE = ("env_steps", "return", "cpu_seconds")
FINAL_EPISODES = 256


@dataclass(frozen=True)
class Options:
    """The options of `main.py reproduce bun|communication|adaps|sparse|mast`."""

    seeds: tuple[int, ...] = tuple(range(1, 11))
    """Seeds of every row; with three or five, little is shown after the correction for all claims of a page."""
    rows: tuple[str, ...] = ()
    """Only these rows (all if none is named); an unknown one lists them."""
    scale: float = 1.0
    """Times the environment steps of every run; other scales need another folder of runs."""
    jobs: int = 2
    """Runs at the same time, each a process with one thread."""
    runs: Path = Path("runs/reproduce")
    """Folder of the runs, a folder each experiment, one JSON each run; those that are there are not run again."""
    out: Path | None = None
    """Folder of the page and the plots (default: that of the experiment's runs; `--out docs/results` publishes them, and the runs in its
    folder `runs`, a line each)."""
    report_only: bool = False
    """Run nothing, only write the page anew; of the published runs (docs/results/runs) if there are none in the folder of the runs."""


class Row(NamedTuple):
    title: str
    config: Any  # a dataclass, of the experiment's learner: task, seed, env_steps and its own


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


def make_runs(experiment: Experiment, options: Options) -> None:
    """Make the runs that are missing. Raises `ValueError` for options that do not fit, and for a stored run of other settings."""
    run_all(jobs_of(experiment, options), options.jobs, make, stored, line, lambda: None)


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
