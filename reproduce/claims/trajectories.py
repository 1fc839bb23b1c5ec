"""The claims of trajectory separation, judged from the curves in magma.json (`python main.py reproduce magma`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from reproduce.claims.judges import Claim, Judge, Judged, Rows, ahead
from reproduce.published import PROTOCOLS, first_step
from reproduce.verdicts import at_least
from training.run.runs import Run

OTHERS_PARAMETERS, OTHERS_STEPS = 6_080_000, 65_000_000  # of the related work that the paper compares itself with


def read_rows(path: Path) -> Rows:
    """Curves of every row and seed; the row's name begins with its protocol."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {
        f"{protocol}_{name}": [{"row": name, "seed": int(seed), "curve": curve} for seed, curve in row["curves"].items()]
        for protocol, rows in stored.items()
        for name, row in rows.items()
    }


def ice(run: Run) -> float:
    """Brought in by a player in a game, at the last evaluation."""
    return run["curve"]["ice"][-1]


def before(run: Run, level: float) -> int:
    """Env steps at the last evaluation before so many games finished for the first time."""
    step = first_step(run, level)
    assert step is not None
    steps = run["curve"]["env_steps"]
    return steps[max(0, steps.index(step) - 1)]


def times_faster(one: str, other: str, level: float, times: float) -> Judge:
    """Row `one` needs `times` fewer steps than row `other` until so many games finish.

    A run got there between two evaluations. The claim must hold, or fail, wherever between them it was.
    """

    def judge(rows: Rows) -> Judged:
        runs = [*rows[one], *rows[other]]
        if any(first_step(run, level) is None for run in runs):
            return Judged("not every run got there")

        def steps(name: str, of: Callable[[Run, float], int | None]) -> dict[int, float]:
            return {run["seed"]: float(of(run, level) or 0) for run in rows[name]}

        said = "; ".join(f"`{name}` {', '.join(f'{step:,.0f}' for step in steps(name, first_step).values())}" for name in (one, other))
        fewest = at_least(steps(other, before), steps(one, first_step), times)
        most = at_least(steps(other, first_step), steps(one, before), times)
        if fewest is None or most is None:
            return Judged(said)
        middle = at_least(steps(other, first_step), steps(one, first_step), times)
        assert middle is not None
        finding = middle._replace(low=fewest.low, high=most.high, wrong=fewest.wrong, right=most.right)
        return Judged(f"{said} steps", finding, remarks=("the interval covers the steps between evaluations",))

    return judge


def smaller(parameters: int) -> Judge:
    """How many times larger the related work's network is."""

    def judge(rows: Rows) -> Judged:
        found = OTHERS_PARAMETERS / parameters
        return Judged(f"{parameters:,} parameters against a published {OTHERS_PARAMETERS:,}: {found:.0f} times", exact=found >= 30)

    return judge


def fewer_examples(row: str) -> Judge:
    """How many times the steps of the slowest seed to 95 % finished the related work trained for."""

    def judge(rows: Rows) -> Judged:
        steps = [first_step(run, 0.95) for run in rows[row]]
        slowest = max(float("inf") if step is None else step for step in steps)
        found = OTHERS_STEPS / slowest
        said = f"{slowest:,.0f} steps to 95 % finished, the slowest seed, against a published {OTHERS_STEPS:,}: {found:,.0f} times"
        return Judged(said, exact=found >= 600)

    return judge


def claims(parameters: int) -> list[Claim]:
    """`parameters` of the policy."""
    out = []
    for protocol, label in PROTOCOLS.items():
        one, other = f"{protocol}_separate", f"{protocol}_single_global"
        for level in (0.10, 0.95):
            text = f"3 times as fast: steps to {level:.0%} finished, {label}"
            out.append(Claim(text, "3 times", (one, other), times_faster(one, other, level, 3.0)))
        text = f"separate trajectories bring more ice than one global trajectory, {label}"
        out.append(Claim(text, "44,472 against 3,066", (one, other), ahead(one, other, ice, 0)))
    one = "paper_separate"
    for row, text in (
        ("own_reward_50", "own reward alone brings more ice than half own, half global"),
        ("global_value", "separate values bring more ice than a global one"),
        ("global_log_prob", "separate trajectories bring more ice than a global log-prob"),
        ("robots_nearest_factory", "separate trajectories bring more ice than one for the robots of a factory"),
    ):
        needs = (one, f"paper_{row}")
        out.append(Claim(f"{text}, {PROTOCOLS['paper']}", "more", needs, ahead(*needs, ice, 0)))
    out.append(Claim("30 times smaller", "30 times", (one,), smaller(parameters)))
    out += [
        Claim(f"600 times fewer examples, {PROTOCOLS[name]}", "600 times", (f"{name}_separate",), fewer_examples(f"{name}_separate"))
        for name in PROTOCOLS
    ]
    return out
