"""Published experiments run again on this engine and network: `python main.py reproduce NAME`.

An experiment is a set of runs that are resumed run by run (`training.runs`); the results page is made from all that are
there. Here is trajectory separation on the game; the backbones' claims, off the game, are in `training.claims`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from training import claims, published
from training.config import PRESETS, TrainConfig, to_dict
from training.evaluate import EVALUATION_SEEDS, Agent, evaluate
from training.plots import learning_curves, save_png
from training.progress import Clock, Progress, duration
from training.published import PROTOCOLS, PUBLISHED, Run, different, first_step
from training.runs import read_run, revision, run_all, write_atomically
from training.switchboard import PUBLISHED_ROWS
from training.train import Trainer

PRESET_OF = {"paper": "paper", "ours": "demo"}
# Env steps between the first evaluations, see `spacing`: small rollouts finish games before the paper's first evaluation.
FINE = {"paper": 4096, "ours": 512}
MASTERED = 0.95
ROWS = (*PUBLISHED_ROWS, "lichen_on")
CURVE = ("env_steps", "wall_seconds", "train_seconds", "finished", "ice", "length", "factories", "entropy")


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
    env_steps: int = 102_400
    """Environment steps a run."""
    protocol: tuple[Literal["paper", "ours"], ...] = ("paper",)
    """paper: rollouts of 4,096 env steps (the preset paper). ours: the preset demo. Both may be given."""
    runs: Path = Path("runs/reproduce/magma")
    """Folder of the runs, one JSON each; those that are there are not run again."""
    out: Path = Path("docs/results")
    """Folder of magma.md, magma.json and the plots, made from all runs in the folder."""
    jobs: int = 1
    """Runs at the same time, each a process with one thread."""
    eval_maps: int = 12
    """Unseen maps of an evaluation."""
    eval_every: int = 4096
    """Environment steps between evaluations; the protocol ours has closer ones, from 512 on, until 95 % first finished."""
    report_only: bool = False
    """Run nothing, only write the results anew."""


class Job(NamedTuple):
    """One run to make and where it is stored."""

    protocol: str
    row: str
    config: TrainConfig
    path: Path
    fine: int  # env steps between the first evaluations, see `spacing`

    @property
    def name(self) -> str:
        return f"{self.protocol}/{self.row}-{self.config.seed}"


def magma(options: Magma) -> list[Path]:
    """Make the runs of the published ablation that are missing, then write table and plots; returns the files written.

    Raises `ValueError` for options that do not fit, and for a stored run that was made with other settings.
    """
    jobs = jobs_of(options)
    if not options.report_only:
        run_all(jobs, options.jobs, run_once, stored, line, lambda: write_results(options.runs, options.out))
    return write_results(options.runs, options.out)


def jobs_of(options: Magma) -> list[Job]:
    """All runs that the options ask for, by protocol, then seed, then row, so that early results compare rows."""
    for row in options.rows:
        if row in PUBLISHED and row not in ROWS:
            raise ValueError(
                f"The row {row!r} cannot be run: the trainer always masks and places near ice. Accepted are {', '.join(ROWS)}."
            )
        if row not in ROWS:
            raise ValueError(f"There is no row {row!r}; accepted are {', '.join(ROWS)}.")
    for name in ("rows", "seeds", "protocol"):
        values = getattr(options, name)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} is {' '.join(map(str, values))!r}; at least one is needed, each once.")
    for name in ("jobs", "eval_every"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} is {getattr(options, name)}; it must be at least 1.")
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


# ------------------------------------------------------------------------------------------------------------- the runs


def run_once(job: Job, show: bool = False) -> Run:
    """Train and evaluate one run; returns it as plain JSON values: settings, seconds and a curve of evaluations.

    Evaluation has maps and random generators of its own, so training is the same however often it is done. `train_seconds`
    and `eval_seconds` are this process's CPU time, which other work on the machine does not stretch; `wall_seconds` is not.
    """
    config, code = job.config, revision()
    warm_up(config)
    clock = Clock()
    trainer = Trainer(config, clock)
    iteration = config.ppo.num_games * config.ppo.rollout_steps
    seeds = range(EVALUATION_SEEDS, EVALUATION_SEEDS + config.eval_maps)
    curve: dict[str, list[float | None]] = {name: [] for name in CURVE}
    train_seconds = eval_seconds = 0.0
    began = time.perf_counter()

    def measure(entropy: float | None) -> dict[str, float]:
        nonlocal eval_seconds
        start = time.process_time()
        with clock("evaluation"):
            scores = evaluate(Agent(trainer.policy, config.actions), config.game(), seeds).scores
        eval_seconds += time.process_time() - start
        point = (trainer.env_steps, time.perf_counter() - began, train_seconds, scores["finished"], scores["ice_transferred"])
        point += (scores["episode_length"], scores["factories_alive"], entropy)
        for name, value in zip(CURVE, point):
            curve[name].append(value)
        return scores

    mastered = measure(None)["finished"] >= MASTERED
    with Progress(config.env_steps, clock, title=job.name, every=60.0) if show else _Quiet() as progress:
        while trainer.env_steps < config.env_steps:
            start = time.process_time()
            metrics = trainer.step_iteration()
            train_seconds += time.process_time() - start
            now = trainer.env_steps
            every = config.eval_every if mastered else spacing(now, job.fine, config.eval_every)
            if now // every > (now - iteration) // every or now >= config.env_steps:
                scores = measure(metrics["losses/entropy"])
                metrics["eval/finished"] = scores["finished"]
                mastered = mastered or scores["finished"] >= MASTERED
            progress.update(now, metrics)
    return {
        "protocol": job.protocol,
        "row": job.row,
        "seed": config.seed,
        "config": _plain(config),
        "fine_eval_every": job.fine,
        "revision": code,
        "device": str(trainer.device),
        "parameters": sum(p.numel() for p in trainer.policy.parameters()),
        "wall_seconds": time.perf_counter() - began,
        "train_seconds": train_seconds,
        "eval_seconds": eval_seconds,
        "curve": curve,
    }


def spacing(step: int, fine: int, coarse: int) -> int:
    """Env steps between evaluations before 95 % first finished: `fine` for 16 of them, then twice as many at each doubling."""
    while 16 * fine <= step:
        fine *= 2
    return min(fine, coarse)


class _Quiet:
    """`Progress` of a run that nobody watches."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, step: int, metrics: dict[str, float]) -> None:
        pass


def warm_up(config: TrainConfig) -> None:
    """Compile what training uses, by a tiny run that is thrown away, so that seconds are those of training."""
    ppo = dataclasses.replace(config.ppo, num_games=2, rollout_steps=2, epochs=1, minibatches=1)
    Trainer(dataclasses.replace(config, ppo=ppo, train_maps=1)).step_iteration()


def line(run: Run) -> str:
    """A finished run in one line."""
    curve = run["curve"]
    reached = ", ".join(
        f"{level:.0%} {'never' if (step := first_step(run, level)) is None else f'by {step:,}'}" for level in published.LEVELS
    )
    return (
        f"{run['protocol']}/{run['row']}-{run['seed']}: {curve['env_steps'][-1]:,} steps, finished {curve['finished'][-1]:.0%}, "
        f"ice {curve['ice'][-1]:,.0f}, {reached}; training {duration(run['train_seconds'])}, evaluation {duration(run['eval_seconds'])}"
    )


# ---------------------------------------------------------------------------------------------------------- the results


def stored(job: Job) -> bool:
    """Whether the run is there. Raises `ValueError` if one is, but made with other settings."""
    if not job.path.exists():
        return False
    run = read_run(job.path, CURVE)
    odd = different(run["config"], _plain(job.config)) + ["fine_eval_every"] * (run["fine_eval_every"] != job.fine)
    if odd:
        raise ValueError(
            f"{job.path} was run with other settings ({', '.join(odd)}); delete it, give another folder with --runs, "
            "or write the results of what is there with --report-only."
        )
    return True


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
    write_atomically(out / "magma.json", json.dumps(published.aggregate(runs)) + "\n")
    write_atomically(out / "magma.md", published.report(runs, plots))
    return [out / "magma.md", out / "magma.json", *(out / name for name in plots.values())]


def _plain(config: TrainConfig) -> dict[str, Any]:
    return json.loads(json.dumps(to_dict(config)))


EXPERIMENTS: dict[str, tuple[type, Callable[[Any], list[Path]]]] = {
    "magma": (Magma, magma),
    **{name: (claims.Options, functools.partial(claims.reproduce, name)) for name in claims.NAMES},
}
