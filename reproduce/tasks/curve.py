"""The learning curve of a run on a task: train, and evaluate every now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol


class Learns(Protocol):
    """A learner: `iterate` advances it, `evaluate` gives its mean return; its config has `env_steps` and `evaluations`."""

    config: Any
    env_steps: int

    def iterate(self) -> dict[str, float]: ...

    def evaluate(self) -> float: ...


def run_with_curve(learner: Learns, each: Callable[[int, float], object] | None = None) -> dict[str, list[float]]:
    """Train to the end of its budget; returns environment steps, return and CPU seconds of training at each evaluation.

    `each(env_steps, return)` is called after an evaluation; there is one before training and one at the end.
    """
    total, evaluations = learner.config.env_steps, learner.config.evaluations
    curve: dict[str, list[float]] = {"env_steps": [], "return": [], "cpu_seconds": []}
    began, evaluating = time.process_time(), 0.0
    due = 0.0
    while True:
        if learner.env_steps >= due or learner.env_steps >= total:
            start = time.process_time()
            value = learner.evaluate()
            evaluating += time.process_time() - start
            for name, number in zip(curve, (learner.env_steps, value, time.process_time() - began - evaluating)):
                curve[name].append(number)
            due = (learner.env_steps * evaluations // total + 1) * total / evaluations
            if each is not None:
                each(learner.env_steps, value)
        if learner.env_steps >= total:
            return curve
        learner.iterate()
