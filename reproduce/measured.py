"""One training run on the game with evaluations all along, as the experiments of `reproduce.magma` make and store it."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from agent.plain import to_dict
from agent.stored import Agent
from arena.evaluate import EVALUATION_SEEDS, evaluate
from reproduce import published
from reproduce.published import Run, different, first_step
from training.config import TrainConfig
from training.ppo.learner import PPOLearner
from training.run.progress import Clock, Progress, duration
from training.run.runs import read_run, revision

MASTERED = 0.95
CURVE = ("env_steps", "wall_seconds", "train_seconds", "finished", "ice", "length", "factories", "entropy")


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


def run_once(job: Job, show: bool = False) -> Run:
    """Train and evaluate one run; returns it as plain JSON values: settings, seconds and a curve of evaluations.

    Evaluation has maps and random generators of its own, so training is the same however often it is done. `train_seconds`
    and `eval_seconds` are this process's CPU time, which other work on the machine does not stretch; `wall_seconds` is not.
    """
    config, code = job.config, revision()
    warm_up(config)
    clock = Clock()
    trainer = PPOLearner(config, clock)
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
        "config": plain(config),
        "fine_eval_every": job.fine,
        "revision": code,
        "device": str(trainer.device),
        "parameters": sum(p.numel() for p in trainer.policy.parameters()),
        "stats": trainer.policy.stats(),
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
    PPOLearner(dataclasses.replace(config, ppo=ppo, train_maps=1)).step_iteration()


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


def stored(job: Job) -> bool:
    """Whether the run is there. Raises `ValueError` if one is, but made with other settings."""
    if not job.path.exists():
        return False
    run = read_run(job.path, CURVE)
    odd = different(run["config"], plain(job.config)) + ["fine_eval_every"] * (run["fine_eval_every"] != job.fine)
    if odd:
        raise ValueError(
            f"{job.path} was run with other settings ({', '.join(odd)}); delete it, give another folder with --runs, "
            "or write the results of what is there with --report-only."
        )
    return True


def plain(config: TrainConfig) -> dict[str, Any]:
    return json.loads(json.dumps(to_dict(config)))
