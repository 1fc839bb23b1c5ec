"""What learned heads choose, by hundreds of turns: `python -m benchmarks.task_choices RUN_DIR`, the run folder of `main.py tasks`.

They play one side, greedily, against the rule on maps that are not learned on. A line: the turn, decisions, and the share of each task.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from agent.tasks.candidates import STATE, TASK_OF, WATERING
from agent.tasks.memory import NO_WISH
from benchmarks.deaths import TASKS
from engine.config import GameConfig
from training.tasks.learner import load
from training.tasks.rollout import play_games, started

NAMES = {NO_WISH: "rule", **dict(enumerate(TASKS[1:], 1))}
FIRST_SEED = 5_100_000


@dataclass(frozen=True)
class Options:
    """Options of the look."""

    run_dir: tyro.conf.Positional[Path]
    games: int = 12
    map_size: int = 48


def main(options: Options) -> None:
    """Play and tell."""
    torch.set_num_threads(1)
    config = GameConfig.for_map_size(options.map_size)
    starts = started(config, range(FIRST_SEED, FIRST_SEED + options.games))
    rows = play_games(config, starts, (load(options.run_dir), {}), None).rows
    rows = rows[rows["kind"] < WATERING]
    hundred = (10 * rows["state"][:, STATE.turn] + 1e-4).astype(int)
    task = TASK_OF[rows["choice"].astype(int)]
    for k in range(10):
        of = task[hundred == k]
        print(
            f"{100 * k:4d}  {len(of):6,d}  " + "  ".join(f"{name} {(of == number).mean():.1%}" for number, name in NAMES.items() if len(of))
        )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
