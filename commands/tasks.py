"""Learn what the rule of `warden` leaves open: the tasks of robots and the orders of factories. The run folder's heads.tasks.npz plays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from commands.options import RUNS, parse
from training.run.loggers import Logger
from training.tasks.learner import Options, learn


@dataclass(frozen=True)
class Tasks:
    options: Annotated[Options, tyro.conf.arg(name="")] = Options()
    run_dir: Path | None = None
    """Folder of the run (default: runs/tasks-KINDS-SEED)."""
    logger: Logger = "tensorboard"
    """Where curves and settings go besides metrics.jsonl: tensorboard, wandb (offline unless WANDB_MODE=online is set), or none."""


def run(argv: list[str]) -> None:
    args = parse(Tasks, argv, "tasks", __doc__)
    run_dir = args.run_dir or RUNS / f"tasks-{'-'.join(args.options.kinds)}-{args.options.seed}"
    learn(args.options, run_dir, args.logger)
    heads = run_dir / "heads.tasks.npz"
    print(f"The heads are in {heads}; play them with: python main.py rate {heads} --against warden shipped reaper")
