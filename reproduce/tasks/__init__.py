"""Small multi-agent tasks that are not the game, behind one interface: the claims of the papers are checked on them.

A task plays E environments at once in numpy, each with the same N agents, and has a random generator of its own. One task
is one file with one config dataclass; `TASKS` names them. `reproduce.tasks.learn` trains on any of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from reproduce.tasks.blind_particles import BlindParticles, BlindParticlesConfig
from reproduce.tasks.cue import Cue, CueConfig
from reproduce.tasks.foraging import Foraging, ForagingConfig
from reproduce.tasks.predator_prey import PredatorPrey, PredatorPreyConfig
from reproduce.tasks.spread import Spread, SpreadConfig
from reproduce.tasks.step import Step
from reproduce.tasks.two_step import TwoStep, TwoStepConfig

__all__ = ["TASKS", "Step", "Task", "make_task"]


class Task(Protocol):
    """E environments of N agents. An environment that ended shows its last state until `restart` puts it anew."""

    envs: int  # E
    agents: int  # N
    features: int  # D, width of an observation
    actions: int  # A
    states: int  # S, width of the global state
    horizon: int  # steps after which an episode ends at the latest
    kinds: np.ndarray  # [N] int64, kind of each agent, as far as agents may know it

    def observe(self) -> np.ndarray:
        """[E, N, D] float32."""
        ...

    def mask(self) -> np.ndarray:
        """[E, N, A] bool, the legal actions; every agent has at least one; value-based learning takes one without for gone."""
        ...

    def state(self) -> np.ndarray:
        """[E, S] float32, the whole environment, for a learner that is central."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """Play actions `[E, N]` int in all environments."""
        ...

    def restart(self, which: np.ndarray) -> None:
        """Begin a new episode in the environments `which [E]` bool."""
        ...


class _Kind(NamedTuple):
    make: Any
    config: Any


TASKS: dict[str, _Kind] = {
    "spread": _Kind(Spread, SpreadConfig),
    "predator_prey": _Kind(PredatorPrey, PredatorPreyConfig),
    "blind_particles": _Kind(BlindParticles, BlindParticlesConfig),
    "cue": _Kind(Cue, CueConfig),
    "foraging": _Kind(Foraging, ForagingConfig),
    "two_step": _Kind(TwoStep, TwoStepConfig),
}


def make_task(name: str, envs: int, seed: int, **options: Any) -> Task:
    """A task by name with fields of its config; all environments are at the start of an episode.

    Raises `ValueError` for an unknown name or option.
    """
    if name not in TASKS:
        raise ValueError(f"There is no task {name!r}; accepted are {', '.join(TASKS)}.")
    make, config = TASKS[name]
    unknown = set(options) - set(config.__dataclass_fields__)
    if unknown:
        raise ValueError(f"The task {name} has no option {sorted(unknown)[0]!r}; accepted are {', '.join(config.__dataclass_fields__)}.")
    return make(envs, seed, config(**options))
