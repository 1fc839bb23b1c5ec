"""Alarms of a long run: what goes wrong in values and gradients, said in time and with what to do about it.

An alarm is a sentence. It is told once, and again only after it has passed. Alarms change nothing in the training; numbers
that are not finite stop it elsewhere (`Learner.step_iteration`). What is watched is the field's usual: the explained variance of
the returns (below 0 the critic is worse than a constant, and advantages are noise) and the gradient's norm before clipping.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median

from submission.files import write_whole
from training.run.metrics import read_metrics

FILE = "alarms.jsonl"
WINDOW = 50  # iterations that an alarm looks at
SPIKE = 10.0  # times the usual gradient norm
COLLAPSE = 0.5  # by which the explained variance fell from its best

WORTHLESS = (
    "The values explain nothing: explained variance averaged {value:.2f} over the last {window} iterations (0 is a constant guess). "
    "If it stays so, lower --ppo.learning-rate, raise --ppo.vf-coef, or make the rewards smaller."
)
COLLAPSED = (
    "The values have collapsed: explained variance averaged {value:.2f} over the last {window} iterations, {best:.2f} at its best. "
    "What is learned now may undo what was: consider going on from the best checkpoint (train --init RUN) with a smaller "
    "--ppo.learning-rate or with --ppo.desired-kl 0.01."
)
SPIKED = (
    "The gradient's norm is {value:.3g}, {times:.0f} times its median of the last {window} iterations. It is clipped to "
    "max-grad-norm (of --ppo or --q); if this comes often, lower the learning rate, clip harder, or look for rewards out of proportion."
)


class Health:
    """Watches an iteration's metrics; `look` returns the alarms that are new."""

    def __init__(self) -> None:
        self._explained: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._best = -math.inf
        self._level = 0  # of what is wrong with the values: 1 collapsed, 2 worthless
        self._spiked = False

    def look(self, metrics: Mapping[str, float]) -> list[str]:
        """Take in `losses/explained_variance` and `losses/grad_norm` of one iteration; a learner need not have them."""
        alarms = []
        explained, norm = metrics.get("losses/explained_variance", math.nan), metrics.get("losses/grad_norm", math.nan)
        if math.isfinite(explained):  # nan if the returns did not vary
            self._explained.append(explained)
        if len(self._explained) == WINDOW:
            mean = fmean(self._explained)
            self._best = max(self._best, mean)
            level = 2 if mean < 0 else 1 if mean < self._best - COLLAPSE else 0
            if level > self._level:
                alarms.append((COLLAPSED, WORTHLESS)[level - 1].format(value=mean, window=WINDOW, best=self._best))
            self._level = level
        if len(self._norms) == WINDOW:
            usual = median(self._norms)
            times = norm / usual if usual > 0 else 1.0
            if times > SPIKE and not self._spiked:
                alarms.append(SPIKED.format(value=norm, times=times, window=WINDOW))
            self._spiked = times > SPIKE
        if math.isfinite(norm):
            self._norms.append(norm)
        return alarms


def health_of(run_dir: Path) -> Health:
    """One that has seen what the run's metrics hold: a resumed run tells neither more nor less than one that never stopped."""
    health = Health()
    for line in read_metrics(run_dir):
        health.look({name: math.nan if value is None else value for name, value in line.items()})
    return health


def record_alarm(run_dir: Path, step: int, text: str) -> None:
    """Add an alarm to the run's list."""
    with open(run_dir / FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "time": round(time.time(), 3), "alarm": text}) + "\n")


def keep_alarms_until(run_dir: Path, step: int) -> None:
    """A run goes on from this step: what was told of later ones will be told again."""
    alarms = read_alarms(run_dir)
    if any(alarm["step"] > step for alarm in alarms):
        write_whole(run_dir / FILE, "".join(json.dumps(alarm) + "\n" for alarm in alarms if alarm["step"] <= step))


def read_alarms(run_dir: Path) -> list[dict]:
    """The run's alarms, oldest first; none if there were none."""
    path = run_dir / FILE
    if not path.exists():
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]
