"""How claims are judged: from a row's stored runs to what the seeds say of a number (`reproduce.verdicts`).

A judge takes the rows of an experiment and returns a `Judged`. Remarks on it are computed from the runs or there are none.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from reproduce.verdicts import LEVEL, Finding, above, at_least, least, more, most, within
from training.run.runs import Run

Rows = dict[str, list[Run]]  # stored runs by row, each row's by seed
Number = Callable[[Run], float]
EQUAL = 0.05  # learners whose gains differ by less are told equal


class Judged(NamedTuple):
    """What the runs say of a claim."""

    ours: str  # the numbers
    finding: Finding | None = None  # `None`: too few seeds, or counted
    exact: bool | None = None  # whether a claim holds about what is counted in the network, so that one seed says it
    percent: bool = False  # the number of the finding is a share
    remarks: tuple[str, ...] = ()


Judge = Callable[[Rows], Judged]


class Claim(NamedTuple):
    """A claim of a paper and how it is judged."""

    text: str
    paper: str  # what the paper says
    needs: tuple[str, ...]  # rows
    judge: Judge


# ------------------------------------------------------------------------------------------------------------- numbers


def final(run: Run) -> float:
    """Return of the trained policy, over more episodes than the curve's."""
    return run["measures"]["final"]


def gain(run: Run) -> float:
    """What learning added to the return of random play."""
    return final(run) - run["measures"]["random"]


def rise(run: Run) -> float:
    """What the last quarter of the run added to the return."""
    steps, returns = run["curve"]["env_steps"], run["curve"]["return"]
    return returns[-1] - float(np.interp(0.75 * steps[-1], steps, returns))


def mean(runs: Sequence[Run], of: Number = final) -> float:
    return statistics.fmean(of(run) for run in runs)


def spread(runs: Sequence[Run], of: Number = final) -> float:
    """Sample deviation over seeds; 0 of a single one."""
    return statistics.stdev([of(run) for run in runs]) if len(runs) > 1 else 0.0


def told(runs: Sequence[Run], of: Number = final, digits: int = 2) -> str:
    """Mean and deviation; of a single seed just the number."""
    number = f"{mean(runs, of):.{digits}f}"
    return f"{number} ± {spread(runs, of):.{digits}f}" if len(runs) > 1 else number


def by_seed(runs: Sequence[Run], of: Number = final) -> dict[int, float]:
    return {run["seed"]: of(run) for run in runs}


def rising(runs: Sequence[Run]) -> bool:
    """Whether the return is shown to rise still in the last quarter of the runs (one-sided t-test, alone)."""
    return len(runs) > 1 and above(np.array([rise(run) for run in runs])) < LEVEL / 2


# -------------------------------------------------------------------------------------------------------------- judges


def ahead(one: str, other: str, of: Number = final, digits: int = 2) -> Judge:
    """Row `one` has more of a number than row `other`."""

    def judge(rows: Rows) -> Judged:
        ours = f"{told(rows[one], of, digits)} against {told(rows[other], of, digits)}"
        finding = more(by_seed(rows[one], of), by_seed(rows[other], of))
        return Judged(ours, finding, remarks=(*equal(rows, one, other), *unfinished(rows, one, other)) if of is final else ())

    return judge


def equal(rows: Rows, one: str, other: str) -> tuple[str, ...]:
    """A remark, if the gains of two rows are shown to be equal (two one-sided tests, alone)."""
    found = within(by_seed(rows[one], gain), by_seed(rows[other], gain), EQUAL)
    return (f"gains equal within {EQUAL:.0%} (p {found.wrong:.3f}, alone)",) if found is not None and found.wrong < LEVEL / 2 else ()


def unfinished(rows: Rows, *names: str) -> tuple[str, ...]:
    """A remark, if some of the rows are still learning when their runs end."""
    still = [name for name in names if rising(rows[name])]
    return (f"still rising: {', '.join(f'`{name}`' for name in still)}",) if still else ()


def keeps(one: str, other: str, share: float) -> Judge:
    """Row `one` has at least `share` of what learning gains in row `other`."""

    def judge(rows: Rows) -> Judged:
        finding = at_least(by_seed(rows[one], gain), by_seed(rows[other], gain), share)
        ours = f"gains {told(rows[one], gain)} of {told(rows[other], gain)}"
        return Judged(ours, finding, percent=True, remarks=unfinished(rows, one, other))

    return judge


def falls_short(one: str, other: str, share: float) -> Judge:
    """Row `one` has less than `share` of what learning gains in row `other`."""

    def judge(rows: Rows) -> Judged:
        judged = keeps(one, other, share)(rows)
        finding = judged.finding
        return judged if finding is None else judged._replace(finding=finding._replace(wrong=finding.right, right=finding.wrong))

    return judge


def no_better(one: str, other: str, margin: float = EQUAL) -> Judge:
    """Row `one` gains at most `margin` more than row `other`."""

    def judge(rows: Rows) -> Judged:
        finding = at_least(by_seed(rows[other], gain), by_seed(rows[one], gain), 1.0 / (1.0 + margin))
        return Judged(f"gains {told(rows[other], gain)} of {told(rows[one], gain)}", finding, percent=True)

    return judge


def lowest(one: str, others: Sequence[str]) -> Judge:
    """Row `one` returns less than each of the others."""

    def judge(rows: Rows) -> Judged:
        finding = least(by_seed(rows[one]), [by_seed(rows[other]) for other in others])
        return Judged(", ".join(f"`{name}` {told(rows[name])}" for name in (one, *others)), finding)

    return judge


def less(one: str, other: str, of: Number, what: str, share: bool = True) -> Judge:
    """Row `one` has less of a number than row `other`; the finding is how much."""

    def judge(rows: Rows) -> Judged:
        finding = more(by_seed(rows[other], of), by_seed(rows[one], of))
        return Judged(f"{what} {told(rows[one], of)}, `{other}` {told(rows[other], of)}", finding, percent=share)

    return judge


def above_number(row: str, of: Number, bound: float, what: str) -> Judge:
    """The mean of a number in a row is above `bound`."""

    def judge(rows: Rows) -> Judged:
        values = by_seed(rows[row], of)
        return Judged(f"{what} {told(rows[row], of)}", more(values, dict.fromkeys(values, 0.0), bound), percent=True)

    return judge


def mostly(row: str, is_so: Callable[[Run], bool], said: Callable[[Sequence[Run]], str]) -> Judge:
    """Something is so in more than half of all seeds."""
    return lambda rows: Judged(said(rows[row]), most([is_so(run) for run in rows[row]]), percent=True)


def times_fewer(one: str, other: str, of: Number, times: float) -> Judge:
    """Row `one` has at least so many times fewer of something that is counted."""

    def judge(rows: Rows) -> Judged:
        found = mean(rows[other], of) / mean(rows[one], of)
        return Judged(f"{found:.1f} times fewer", exact=found >= times)

    return judge


def at_most(one: str, other: str, of: Number, share: float) -> Judge:
    """Row `one` has at most `share` of something that is counted in row `other`."""

    def judge(rows: Rows) -> Judged:
        pair = mean(rows[one], of), mean(rows[other], of)
        return Judged(f"{pair[0]:,.0f} of {pair[1]:,.0f}, {pair[0] / pair[1]:.1%}", exact=pair[0] <= share * pair[1])

    return judge
