"""Published experiments run again on this engine and network: `python main.py reproduce NAME`.

An experiment is a set of runs that are resumed run by run (`training.run.runs`); the results page is made from all that are
there. Here is trajectory separation on the game; the backbones are compared on it in `reproduce.comparison`, and the claims
of their papers, off the game, are in `reproduce.claims`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from arena.plots import save_png
from reproduce import claims, comparison, dials, published, sites
from reproduce.claims import table
from reproduce.measured import CURVE, Job, line, run_once, stored
from reproduce.plots import learning_curves
from reproduce.published import PROTOCOLS, PUBLISHED
from reproduce.tasks import train
from submission.files import write_whole
from training.config import TrainConfig
from training.presets import PRESETS
from training.run.runs import check_options, read_run, run_all
from training.trajectories.switchboard import PUBLISHED_ROWS

PRESET_OF = {"paper": "paper", "ours": "demo"}
# Env steps between the first evaluations, see `spacing`: small rollouts finish games before the paper's first evaluation.
FINE = {"paper": 4096, "ours": 512}
ROWS = (*PUBLISHED_ROWS, "lichen_on")


@dataclass(frozen=True)
class Magma:
    """The options of `main.py reproduce magma`."""

    rows: tuple[str, ...] = (
        "separate",
        "single_global",
        "robots_mod_4",
        "robots_nearest_factory",
        "own_reward_50",
        "global_log_prob",
        "global_value",
    )
    """Rows of the published table; an unknown one lists them all."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of every row."""
    env_steps: int = 102_400
    """Environment steps a run."""
    protocol: tuple[Literal["paper", "ours"], ...] = ("paper",)
    """paper: rollouts of 4,096 env steps (the preset paper). ours: the preset demo. Both may be given."""
    runs: Path = Path("runs/reproduce/magma")
    """Folder of the runs, one JSON each; those that are there are not run again."""
    out: Path | None = None
    """Folder of magma.md, magma.json and the plots, made from all runs in the folder of the runs (default: that one; `--out docs/results`
    publishes them)."""
    jobs: int = 1
    """Runs at the same time, each a process with one thread."""
    eval_maps: int = 12
    """Unseen maps of an evaluation."""
    eval_every: int = 4096
    """Environment steps between evaluations; the protocol ours has closer ones, from 512 on, until 95 % first finished."""
    report_only: bool = False
    """Run nothing, only write the results anew."""


def magma(options: Magma) -> list[Path]:
    """Make the runs of the published ablation that are missing, then write table and plots; returns the files written.

    Raises `ValueError` for options that do not fit, and for a stored run that was made with other settings.
    """
    jobs = jobs_of(options)
    if not options.report_only:
        run_all(jobs, options.jobs, run_once, stored, line, lambda: write_results(options.runs, options.out or options.runs))
    return write_results(options.runs, options.out or options.runs)


def jobs_of(options: Magma) -> list[Job]:
    """All runs that the options ask for, by protocol, then seed, then row, so that early results compare rows."""
    for row in options.rows:
        if row in PUBLISHED and row not in ROWS:
            raise ValueError(
                f"The row {row!r} cannot be run: the trainer always masks and places near ice. Accepted are {', '.join(ROWS)}."
            )
        if row not in ROWS:
            raise ValueError(f"There is no row {row!r}; accepted are {', '.join(ROWS)}.")
    check_options(options, ("rows", "seeds", "protocol"))
    jobs = []
    for protocol in options.protocol:
        for seed in options.seeds:
            for row in options.rows:
                config = row_config(protocol, row, seed, options.env_steps, options.eval_maps, options.eval_every)
                path = options.runs / protocol / f"{row}-{seed}.json"
                jobs.append(Job(protocol, row, config, path, min(FINE[protocol], options.eval_every)))
    return jobs


def row_config(protocol: str, row: str, seed: int, env_steps: int, eval_maps: int, eval_every: int) -> TrainConfig:
    """The training config of one row: the protocol's preset with the row's grouping and switches, and nothing else changed."""
    preset = PRESETS[PRESET_OF[protocol]]
    grouping, switches = PUBLISHED_ROWS.get(row, PUBLISHED_ROWS["separate"])
    actions = dataclasses.replace(preset.actions, water=True) if row == "lichen_on" else preset.actions
    return dataclasses.replace(
        preset,
        seed=seed,
        env_steps=env_steps,
        eval_maps=eval_maps,
        eval_every=eval_every,
        grouping=grouping,
        switches=switches,
        actions=actions,
    )


# ---------------------------------------------------------------------------------------------------------- the results


def write_results(runs_dir: Path, out: Path) -> list[Path]:
    """Write magma.md, magma.json and the plots from all stored runs; returns their paths. Raises `ValueError` if there are none."""
    runs = [read_run(path, CURVE) for protocol in PROTOCOLS for path in sorted((runs_dir / protocol).glob("*.json"))]
    if not runs:
        raise ValueError(f"There are no finished runs in {runs_dir}; run some first.")
    plots: dict[str, str] = {}
    for protocol, label in PROTOCOLS.items():
        rows = published.by_row(runs, protocol)
        if rows:
            plots[protocol] = f"magma-{protocol}.png"
            curves = {name: [run["curve"] for run in found] for name, found in rows.items()}
            save_png(learning_curves(curves, f"Under {label}", log_steps=protocol == "ours"), out / plots[protocol])
    write_whole(out / "magma.json", json.dumps(published.aggregate(runs)) + "\n")
    write_whole(out / "magma.md", published.report(runs, plots))
    return [out / "magma.md", out / "magma.json", *(out / name for name in plots.values())]


EXPERIMENTS: dict[str, tuple[type, Callable[[Any], list[Path]]]] = {
    "magma": (Magma, magma),
    "backbones": (comparison.Backbones, comparison.backbones),
    "opening": (sites.Opening, sites.opening),
    "dials": (dials.Search, dials.dials),
    **{name: (claims.Options, functools.partial(claims.reproduce, name)) for name in claims.NAMES},
    "communication": (claims.Communication, claims.reproduce_communication),
    "mast": (claims.Mast, functools.partial(claims.reproduce, "mast")),
    "claims": (table.Table, table.claims_table),
    "task": (train.Train, train.train),
}
