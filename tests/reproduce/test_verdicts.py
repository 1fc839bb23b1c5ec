"""Verdicts err no more often than they say, on simulated learners that are equal, unequal, and just at a claim's bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reproduce.verdicts import (
    HOLDS,
    LEVEL,
    NOT_SHOWN,
    POWER,
    REFUTED,
    above,
    at_least,
    holm,
    in_common,
    interval,
    least,
    more,
    most,
    ratio_interval,
    shows,
    standard_errors,
    verdicts,
    within,
)

PAGES, CLAIMS, SEEDS = 200, 3, 5
# more wrong pages than this among PAGES come about once in a thousand times if the stated level is kept
TOO_MANY = int(stats.binom.ppf(0.999, PAGES, LEVEL))


def learner(random: np.random.Generator, mean: float, common: np.ndarray, deviation: float = 1.0) -> dict[int, float]:
    """A learner's return by seed; what seeds have in common makes pairs alike."""
    return {seed: float(mean + common[seed] + deviation * random.standard_normal()) for seed in range(len(common))}


def simulated(claim, one: float, other: float, seed: int = 0, claims: int = CLAIMS, seeds: int = SEEDS) -> list[list[str]]:
    """The verdicts of PAGES pages on learners with these true means."""
    random = np.random.default_rng(seed)
    out = []
    for _ in range(PAGES):
        findings = []
        for _ in range(claims):
            common = random.standard_normal(seeds)
            findings.append(claim(learner(random, one, common), learner(random, other, common)))
        out.append([kind for kind, _ in verdicts(findings)])
    return out


def pages_with(kinds: list[list[str]], *wrong: str) -> int:
    return sum(any(kind in wrong for kind in page) for page in kinds)


def test_of_equal_learners_neither_is_found_ahead():
    assert pages_with(simulated(more, 10.0, 10.0), HOLDS, REFUTED) <= TOO_MANY


def test_without_the_correction_they_would_be():
    random, wrong = np.random.default_rng(0), 0
    for _ in range(PAGES):
        common = [random.standard_normal(SEEDS) for _ in range(CLAIMS)]
        found = [more(learner(random, 10.0, c), learner(random, 10.0, c)) for c in common]
        wrong += any(finding is not None and finding.p <= LEVEL for finding in found)
    assert wrong > TOO_MANY


def test_the_better_one_of_unequal_learners_is_found_and_hardly_ever_the_worse():
    kinds = simulated(more, 12.0, 10.0)
    assert pages_with(kinds, REFUTED) <= TOO_MANY
    assert sum(page.count(HOLDS) for page in kinds) > 0.2 * PAGES * CLAIMS
    assert pages_with(simulated(more, 10.0, 12.0), HOLDS) <= TOO_MANY


def test_just_at_the_bound_of_a_share_and_of_a_margin_the_level_is_kept():
    """The claims of 95 % and of 5 % are right and wrong at once there, so that any verdict but one is wrong."""
    assert pages_with(simulated(lambda one, other: at_least(one, other, 0.95), 38.0, 40.0, 1), HOLDS, REFUTED) <= TOO_MANY
    for mean in (38.0, 42.0):
        assert pages_with(simulated(lambda one, other: within(one, other, 0.05), mean, 40.0, 2), HOLDS, REFUTED) <= TOO_MANY
    with_rivals = simulated(lambda one, other: least(one, [other, {seed: value + 5.0 for seed, value in other.items()}]), 10.0, 10.0, 3)
    assert pages_with(with_rivals, HOLDS, REFUTED) <= TOO_MANY


def test_equal_learners_are_found_equal_and_different_ones_are_not():
    equal = simulated(lambda one, other: within(one, other, 0.05), 100.0, 100.0, 4, claims=1)
    assert pages_with(equal, REFUTED) <= TOO_MANY and pages_with(equal, HOLDS) > 0.9 * PAGES
    different = simulated(lambda one, other: within(one, other, 0.05), 85.0, 100.0, 5, claims=1)
    assert pages_with(different, HOLDS) <= TOO_MANY and pages_with(different, REFUTED) > 0.9 * PAGES


def test_the_effect_that_is_said_to_show_is_shown_four_times_in_five():
    """With the true deviation of a difference, 2 ** .5, in place of the sample's."""
    effect = standard_errors(SEEDS) * math.sqrt(2.0 / SEEDS)
    shown = pages_with(simulated(more, 10.0 + effect, 10.0, 6, claims=1), HOLDS) / PAGES
    assert abs(shown - POWER) < 4.0 * math.sqrt(POWER * (1.0 - POWER) / PAGES)
    values = np.array([1.0, 2.0, 4.0])
    assert shows(values) == pytest.approx(standard_errors(3) * stats.sem(values))


def test_most_keeps_the_level_and_says_so_of_ten_in_ten_but_not_of_five_in_five():
    assert most([True]) is None
    ten, five = most([True] * 10), most([True] * 5)
    assert verdicts([ten])[0][0] == HOLDS and verdicts([five])[0][0] == NOT_SHOWN and verdicts([most([False] * 10)])[0][0] == REFUTED
    wrong = sum(
        stats.binom.pmf(count, 10, 0.5) for count in range(11) if verdicts([most([i < count for i in range(10)])])[0][0] != NOT_SHOWN
    )
    assert wrong <= LEVEL
    assert ten is not None and ten.low == pytest.approx(0.025 ** (1 / 10)) and ten.high == 1.0  # Clopper and Pearson


# ------------------------------------------------------------------------------------------------------------- by hand


def test_intervals_are_where_the_tests_turn():
    """An end of an interval is the bound at which a one-sided test has a p-value of 2.5 %."""
    random = np.random.default_rng(7)
    one, other = random.normal(8.0, 1.0, 6), random.normal(10.0, 2.0, 6)
    low, high = interval(one - other)
    assert above(one - other, low) == pytest.approx(0.025) and above(other - one, -high) == pytest.approx(0.025)
    low, high = ratio_interval(np.stack([one, other], 1))
    assert above(one - low * other) == pytest.approx(0.025) and above(high * other - one) == pytest.approx(0.025)
    assert ratio_interval(np.stack([one, other - 10.0], 1)) == (-math.inf, math.inf)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x .01, then 2 x .03, then no less than that
    assert holm([0.6, 0.5]) == [1.0, 1.0] and holm([]) == []


def test_seeds_in_common_are_pairs_and_what_one_seed_says_is_nothing():
    assert in_common({1: 1.0, 2: 2.0, 4: 4.0}, {2: 20.0, 3: 30.0, 4: 40.0}).tolist() == [[2.0, 20.0], [4.0, 40.0]]
    assert more({1: 1.0}, {1: 0.0}) is None and more({1: 1.0, 2: 1.0}, {3: 0.0, 4: 0.0}) is None
    # what pairs have in common does not widen the interval
    ahead = {1: 1.1, 2: 101.0, 3: -98.9, 4: 51.2}
    found = more(ahead, {1: 0.0, 2: 100.0, 3: -100.0, 4: 50.0})
    assert found is not None and found.estimate == pytest.approx(1.1) and 0.9 < found.low < found.high < 1.3
    assert verdicts([found, None]) == [(HOLDS, pytest.approx(found.p)), (NOT_SHOWN, 1.0)]


def test_of_a_reference_that_learned_nothing_there_are_no_shares():
    nothing = {1: -0.5, 2: 0.6, 3: 0.1}
    found = at_least({1: 5.0, 2: 6.0, 3: 5.5}, nothing, 0.95)
    assert verdicts([found])[0][0] == NOT_SHOWN
