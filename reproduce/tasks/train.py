"""Train one backbone on one small task and see how it does: `python main.py reproduce task spread --backbone bun`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from reproduce.tasks import TASKS, make_task
from reproduce.tasks.learn import LearnConfig, Learner
from submission.files import write_whole

EPISODES = 256  # of the last evaluation


@dataclass(frozen=True)
class Train:
    """The options of `main.py reproduce task`."""

    task: tyro.conf.Positional[str] = "spread"
    """A small task; an unknown one lists them."""
    backbone: str = "dense"
    """dense, bun, communication, adaps, or a class of your own as package.module:Class or path/to/file.py:Class, made with the width."""
    width: int = 64
    """Width of an agent's features."""
    sparsity: float = 0.0
    """Share of the weights of input layer and backbone that is absent; 0 is dense."""
    env_steps: int = 50_000
    """Environment steps; each is a decision of every agent."""
    seed: int = 1
    out: Path | None = None
    """File of the run as JSON: settings, curve, figures (default: in runs/reproduce/task)."""


def fitting(backbone: str, agents: int) -> dict[str, Any]:
    """Settings with which each agent of a task is one to the backbone."""
    return {
        "bun": {"agents": "slots", "seats": agents},
        "communication": {"sharing": "slot", "slots": agents, "kinds": 1, "hearing": "ordered"},
        "adaps": {"key": "slot", "slots": agents},
    }.get(backbone, {})


def train(options: Train) -> list[Path]:
    """Train, print the curve and what the backbone says of itself, and write both; returns the file's path.

    Raises `ValueError` for a task or backbone that there is not.
    """
    if options.task not in TASKS:
        raise ValueError(f"There is no task {options.task!r}; accepted are {', '.join(TASKS)}.")
    torch.set_num_threads(1)
    config = LearnConfig(
        task=options.task,
        backbone=options.backbone,
        method=fitting(options.backbone, make_task(options.task, 1, 0).agents),
        width=options.width,
        sparsity=options.sparsity,
        env_steps=options.env_steps,
        seed=options.seed,
    )
    learner = Learner(config)
    result = learner.run(lambda steps, value: print(f"{steps:>9,} steps: return {value:.2f}", flush=True))
    final, random = learner.evaluate(EPISODES, seed=1), learner.random_return(EPISODES, seed=1)
    print(f"Return over {EPISODES} unseen episodes {final:.2f}, of random play {random:.2f}.")
    print(", ".join(f"{name} {value:,.4g}" for name, value in result["stats"].items()))
    name = options.backbone.replace("/", "_").replace(":", "_")
    path = options.out or Path("runs/reproduce/task") / f"{options.task}-{name}-{options.seed}.json"
    write_whole(path, json.dumps({"config": vars(config), "final": final, "random": random, **result}, indent=2) + "\n")
    return [path]
