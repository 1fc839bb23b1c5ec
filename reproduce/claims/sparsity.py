"""What the experiments on sparse training judge alike: how much is saved, which method is worst, whether it is faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reproduce.claims.experiment import Rows, Verdict, mean, told
from training.run.runs import Run

LEVELS = (80, 90, 95)  # percent of weights absent
METHODS = {"static": "static mask", "set": "SET", "rigl": "RigL"}


def least_saving(percent: int) -> float:
    """How many times fewer of something a network must have: half of what its density alone would save."""
    return 0.5 / (1 - percent / 100)


def saves(number: Callable[[Run], float], method: str, percent: int) -> Callable[[Rows], Verdict]:
    """Whether the sparse rows have so many times fewer of `number` than the dense ones (`least_saving`), in the mean."""

    def judge(rows: Rows) -> Verdict:
        times = mean(rows["dense"], number) / mean(rows[f"{method}_{percent}"], number)
        return Verdict(f"{times:.1f} times fewer", times >= least_saving(percent))

    return judge


def static_is_worst(methods: Mapping[str, str], percent: int) -> Callable[[Rows], Verdict]:
    """Whether static masks return the least of the `methods` (name -> title), in the mean."""

    def judge(rows: Rows) -> Verdict:
        means = {name: mean(rows[f"{name}_{percent}"]) for name in methods}
        ours = ", ".join(f"{title} {told(rows[f'{name}_{percent}'])}" for name, title in methods.items())
        return Verdict(ours, min(means, key=lambda name: means[name]) == "static")

    return judge


def not_faster(rows: Rows) -> Verdict:
    """Whether nine weights in ten absent make training no faster."""
    ratio = mean(rows["rigl_90"], lambda run: run["train_seconds"]) / mean(rows["dense"], lambda run: run["train_seconds"])
    return Verdict(f"{ratio:.2f} times the CPU time of dense", ratio > 0.9)
