"""What the experiments on sparse training judge alike: how much is saved, which method is worst, whether it is faster."""

from __future__ import annotations

from reproduce.claims.judges import Judge, Judged, Rows, by_seed, lowest, mean
from reproduce.verdicts import at_least

LEVELS = (80, 90, 95)  # percent of weights absent
METHODS = {"static": "static mask", "set": "SET", "rigl": "RigL"}
NO_FASTER = 0.9  # times the time of dense, and more, is no faster


def times(percent: int) -> float:
    """How many times fewer weights are left, as the papers count: 5, 10 and 20."""
    return 100 / (100 - percent)


def static_is_worst(methods: tuple[str, ...], percent: int) -> Judge:
    """Static masks return less than each of the other methods."""
    return lowest(f"static_{percent}", [f"{name}_{percent}" for name in methods if name != "static"])


def not_faster(rows: Rows) -> Judged:
    """Nine weights in ten absent make training no faster: at least `NO_FASTER` times the CPU time of dense."""
    sparse, dense = (by_seed(rows[name], lambda run: run["train_seconds"]) for name in ("rigl_90", "dense"))
    said = ", ".join(f"`{name}` {mean(rows[name], lambda run: run['train_seconds']):.1f} s of CPU" for name in ("rigl_90", "dense"))
    return Judged(said, at_least(sparse, dense, NO_FASTER), percent=True)
