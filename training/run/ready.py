"""Before the first step: what is slow only once is done, and said, before a run's clock starts."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

from engine.jit import is_compiled
from engine.notice import tell
from training.config import CurriculumConfig, LeagueConfig, TrainConfig

WORTH_TELLING = 5.0  # seconds


def get_ready(make: Callable[[TrainConfig], Any], config: TrainConfig) -> None:
    """Let a tiny learner of this kind, which is thrown away, take one step: that compiles all that it calls, or reads it from disk.

    Args:
        make: makes the learner.
        config: the run's; its rules, network and grouping are kept, and nothing that must be read or that takes long.
    """
    small: dict[str, Any] = {"num_games": 2, "rollout_steps": 2, "minibatches": 1}
    tiny = dataclasses.replace(
        config,
        env_steps=1,
        seed=1,
        train_maps=2,
        max_turns=1,  # so that a game ends
        compile=False,
        ppo=dataclasses.replace(config.ppo, **small, epochs=1, teacher=None),
        q=dataclasses.replace(config.q, **small, passes=1, replay=1),
        reward=dataclasses.replace(config.reward, terms=()),
        league=LeagueConfig(),
        curriculum=CurriculumConfig(factories=config.curriculum.factories),
    )
    if is_compiled():
        _take_step(make, tiny)


@functools.cache
def _take_step(make: Callable[[TrainConfig], Any], config: TrainConfig) -> None:
    began = time.perf_counter()
    make(config).step_iteration()
    tell_ready(began)


def tell_ready(began: float) -> None:
    """Say how long it took to get ready, where something was said to be made and that took long."""
    if (seconds := time.perf_counter() - began) > WORTH_TELLING and tell.cache_info().currsize:
        tell(f"Ready after {seconds:.0f} s; the clock starts now.")
