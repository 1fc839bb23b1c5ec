"""What seeds can say of a claim: *holds*, *refuted* or *not shown*, each from an interval.

A claim is about one number, a difference or a ratio of two learners. Seeds that both were run with are pairs. Two one-sided
t-tests ask whether the number lies where the claim has it, and whether it lies elsewhere; the claims of a page are corrected
together (Holm 1979). So in the long run at most one page in twenty has a verdict *holds* or *refuted* that is wrong, and what
the seeds do not settle is *not shown*, with the effect that they would have shown.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

LEVEL = 0.05  # share of pages with a wrong verdict; intervals cover 1 - LEVEL
POWER = 0.8
HOLDS, REFUTED, NOT_SHOWN = "holds", "refuted", "not shown"
BySeed = Mapping[int, float]  # a learner's number for every seed


class Finding(NamedTuple):
    """What the seeds say of the number that a claim is about."""

    estimate: float
    low: float  # of the 95 % interval
    high: float
    wrong: float  # how likely are numbers so much in favour of the claim (or more so), were it wrong
    right: float  # how likely are numbers so much against it (or more so), were it right
    shows: float  # distance from the claim's bound that so many seeds show four times in five, tested alone
    n: int  # seeds

    @property
    def p(self) -> float:
        """Of the two-sided test."""
        return min(1.0, 2.0 * min(self.wrong, self.right))


def more(one: BySeed, other: BySeed, bound: float = 0.0) -> Finding | None:
    """Claim: the mean of `one` is above that of `other` by more than `bound`. `None` with fewer than two seeds in common."""
    pairs = in_common(one, other)
    if len(pairs) < 2:
        return None
    values = pairs[:, 0] - pairs[:, 1]
    low, high = interval(values)
    return Finding(float(values.mean()), low, high, above(values, bound), above(-values, -bound), shows(values), len(values))


def at_least(one: BySeed, other: BySeed, share: float) -> Finding | None:
    """Claim: the mean of `one` is at least `share` of that of `other`, which is positive. The number is their ratio.

    `None` with fewer than two seeds in common. If `other` is not shown to be positive (one-sided, alone) nothing is said.
    """
    pairs = in_common(one, other)
    if len(pairs) < 2:
        return None
    values = pairs[:, 0] - share * pairs[:, 1]
    return _ratio(pairs, above(values), above(-values), shows(values))


def within(one: BySeed, other: BySeed, margin: float) -> Finding | None:
    """Claim: the ratio of the means is within 1 - margin and 1 + margin, by two one-sided tests. Else as `at_least`."""
    pairs = in_common(one, other)
    if len(pairs) < 2:
        return None
    over, under = (pairs[:, 0] - (1.0 + side) * pairs[:, 1] for side in (-margin, margin))
    return _ratio(pairs, max(above(over), above(-under)), min(above(-over), above(under)), shows(over))


def least(one: BySeed, others: Sequence[BySeed]) -> Finding | None:
    """Claim: the mean of `one` is below each of the others'. The number is how far below the one that speaks most against it.

    It holds if it does for every one of them; it is refuted if for one of them the opposite is shown (Bonferroni).
    """
    found = [finding for finding in (more(other, one) for other in others) if finding is not None]
    if len(found) < len(others) or not found:
        return None
    decisive = max(found, key=lambda finding: finding.wrong)
    return decisive._replace(right=min(1.0, len(found) * min(finding.right for finding in found)))


def most(flags: Sequence[bool]) -> Finding | None:
    """Claim: what `flags` say of each seed is so in more than half of all seeds. The number is their share (exact binomial)."""
    if len(flags) < 2:
        return None
    n, count = len(flags), sum(flags)
    ends = stats.binomtest(count, n).proportion_ci(1.0 - LEVEL)
    wrong, right = (float(stats.binomtest(count, n, 0.5, side).pvalue) for side in ("greater", "less"))
    return Finding(count / n, float(ends.low), float(ends.high), wrong, right, math.nan, n)


# ---------------------------------------------------------------------------------------------------------- the verdicts


def verdicts(findings: Sequence[Finding | None]) -> list[tuple[str, float]]:
    """The verdict on each claim of a page, and its p-value corrected for all of them."""
    told = [finding for finding in findings if finding is not None]
    corrected = iter(holm([finding.p for finding in told]))
    return [(NOT_SHOWN, 1.0) if finding is None else verdict(finding, next(corrected)) for finding in findings]


def verdict(finding: Finding, p: float) -> tuple[str, float]:
    """With the corrected p-value."""
    if p > LEVEL:
        return NOT_SHOWN, p
    return (HOLDS if finding.wrong < finding.right else REFUTED), p


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p-values: the least times the number of tests, the next times one less, and so on, never falling."""
    order = np.argsort(p)
    corrected = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1)).clip(max=1.0)
    return corrected[np.argsort(order)].tolist()


# ----------------------------------------------------------------------------------------------------------- of one sample


def in_common(one: BySeed, other: BySeed) -> np.ndarray:
    """[n, 2], a row each seed that both have."""
    return np.array([(one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())]).reshape(-1, 2)


def above(values: np.ndarray, bound: float = 0.0) -> float:
    """p-value of Student's one-sided test that the mean of values [n] is above the bound. Equal values are sure of theirs."""
    if np.ptp(values) == 0.0:
        return float(values[0] <= bound)
    return float(stats.ttest_1samp(values, bound, alternative="greater").pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of values [n]."""
    if np.ptp(values) == 0.0:
        return float(values[0]), float(values[0])
    ends = stats.ttest_1samp(values, 0.0).confidence_interval(1.0 - LEVEL)
    return float(ends.low), float(ends.high)


def ratio_interval(pairs: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the ratio of the means of pairs [n, 2] (Fieller 1954): every r for which the mean of
    `one - r * other` may be 0. Infinite if the second mean may be 0."""
    n = len(pairs)
    (a, b), covariance = pairs.mean(0), np.cov(pairs.T) / n
    t2 = float(stats.t.ppf(1.0 - LEVEL / 2, n - 1)) ** 2
    coefficients = (b**2 - t2 * covariance[1, 1], -2.0 * (a * b - t2 * covariance[0, 1]), a**2 - t2 * covariance[0, 0])
    if coefficients[0] <= 0.0:
        return -math.inf, math.inf
    ends = np.sort(np.roots(coefficients).real)
    return float(ends[0]), float(ends[1])


def shows(values: np.ndarray) -> float:
    """The effect that so many seeds, spread like values [n], show four times in five (two-sided, tested alone)."""
    return standard_errors(len(values)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))


@functools.cache
def standard_errors(n: int) -> float:
    """How many standard errors an effect must be for n values to show it four times in five."""
    critical = stats.t.ppf(1.0 - LEVEL / 2, n - 1)
    found = optimize.root_scalar(lambda effect: stats.nct.sf(critical, n - 1, effect) - POWER, bracket=(0.0, 4.0 * critical + 4.0))
    return float(found.root)


def _ratio(pairs: np.ndarray, wrong: float, right: float, effect: float) -> Finding:
    one, other = pairs.mean(0)
    low, high = ratio_interval(pairs)
    if above(pairs[:, 1]) > LEVEL / 2:  # of nothing there are no shares
        wrong = right = 1.0
    return Finding(float(one / other), low, high, wrong, right, abs(float(effect / other)), len(pairs))
