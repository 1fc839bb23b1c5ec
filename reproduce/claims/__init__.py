"""Published claims, checked off the game: `python main.py reproduce bun|communication|adaps|sparse|mast`.

An experiment is rows (a learning setting each) times seeds, on the small tasks of `reproduce.tasks`; every row and seed is one
resumable run. Claims are judged by code from the stored runs, and the page says which hold and which do not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reproduce.claims.experiment import NAMES, Options
from reproduce.claims.page import reproduce

__all__ = ["NAMES", "Communication", "Mast", "Options", "reproduce", "reproduce_communication"]
FIVE = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Mast(Options):
    """The options of `main.py reproduce mast`."""

    seeds: tuple[int, ...] = FIVE
    """Seeds of every row."""


@dataclass(frozen=True)
class Communication(Options):
    """The options of `main.py reproduce communication`."""

    algo: Literal["ppo", "iql"] = "ppo"
    """ppo: the communication backbone under PPO. iql: independent Q-learning, as published."""
    seeds: tuple[int, ...] = ()
    """Seeds of every row (default: 1 to 10, with iql 1 2 3 4 5)."""


def reproduce_communication(options: Communication) -> list[Path]:
    """Fully independent communication, by one learner or the other."""
    seeds = options.seeds or (FIVE if options.algo == "iql" else Options.seeds)
    return reproduce("communication" + "_iql" * (options.algo == "iql"), dataclasses.replace(options, seeds=seeds))
