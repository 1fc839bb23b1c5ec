"""Paired comparisons: map by map, side by side, with Student's interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from arena.rating.paired import compare, told
from arena.rating.results import Game
from main import main


def game(left: str, right: str, winner: Any, seed: int, lichen: tuple[int, int]) -> Game:
    made = Game((left, right), (f"n-{left}", f"n-{right}"), 48, seed, "fast", winner, "a reason.", 1000, (0, 0), (2, 0), (None, None))
    return replace(made, lichen=lichen)


def both_sides(player: str, other: str, seed: int, shares: tuple[float, float]) -> list[Game]:
    """A map from both sides; shares of the lichen that the player has as left, as right."""
    mine = [round(1000 * share) for share in shares]
    first = game(player, other, "left" if shares[0] > 0.5 else "right", seed, (mine[0], 1000 - mine[0]))
    return [first, game(other, player, "right" if shares[1] > 0.5 else "left", seed, (1000 - mine[1], mine[1]))]


def test_the_difference_of_every_map_by_hand() -> None:
    games = [*both_sides("a", "x", 1, (0.9, 0.7)), *both_sides("b", "x", 1, (0.6, 0.2))]
    games += [*both_sides("a", "x", 2, (0.4, 0.6)), *both_sides("b", "x", 2, (0.6, 0.8))]
    (row,) = compare(games, "a", "b", ["x"])
    shares = np.array([0.8 - 0.4, 0.5 - 0.7])
    wins = np.array([1.0 - 0.5, 0.5 - 1.0])
    assert (row.against, row.maps) == ("n-x", 2)
    assert row.lichen == pytest.approx(shares.mean()) and row.wins == pytest.approx(wins.mean())
    low, high = stats.ttest_1samp(shares, 0).confidence_interval(0.95)
    assert (row.lichen - row.lichen_error, row.lichen + row.lichen_error) == pytest.approx((low, high))


def test_only_maps_that_both_played_from_both_sides_count() -> None:
    games = [*both_sides("a", "x", 1, (0.9, 0.7)), *both_sides("b", "x", 1, (0.6, 0.2))[:1]]
    assert compare(games, "a", "b", ["x"]) == []
    games += both_sides("a", "b", 1, (0.9, 0.9))  # each other
    assert compare(games, "a", "b", ["x"]) == []


def test_opponents_on_one_map_are_one_sample() -> None:
    games = []
    for seed in range(4):
        for other in ("x", "y"):
            games += [*both_sides("a", other, seed, (0.6, 0.6 + seed / 10)), *both_sides("b", other, seed, (0.5, 0.5))]
    rows = compare(games, "a", "b", ["x", "y"])
    assert [(row.against, row.maps) for row in rows] == [("n-x", 4), ("n-y", 4), ("all", 4)]
    assert rows[2].lichen == pytest.approx(rows[0].lichen) and rows[2].lichen_error == pytest.approx(rows[0].lichen_error)
    assert "against all" in list(told(rows, "a", "b"))[3]


def test_one_player_is_held_against_half() -> None:
    games = [*both_sides("a", "x", 1, (0.9, 0.7)), *both_sides("a", "x", 2, (0.4, 0.6)), *both_sides("b", "x", 1, (0.1, 0.1))]
    (row,) = compare(games, "a", None, ["x"])
    assert (row.maps, row.wins, row.lichen) == (2, pytest.approx(0.25), pytest.approx(0.15))
    assert "a less one half" in next(told([row], "a"))


def test_the_interval_holds_the_truth_as_often_as_promised() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        games = []
        for seed in range(10):
            luck = rng.uniform(0.2, 0.6)  # of the map, which both have
            for player, better in (("a", 0.1), ("b", 0.0)):
                first, second = np.clip(luck + better + rng.normal(0, 0.05, 2), 0, 1).tolist()
                games += both_sides(player, "x", seed, (first, second))
        (row,) = compare(games, "a", "b", ["x"])
        held += abs(row.lichen - 0.1) <= row.lichen_error
    assert 0.91 < held / 300 < 0.98


def test_it_wants_two_players_and_a_pool(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rate", "warden", "farmer", "--paired"]) == 2
    assert "--paired compares one or two players against a pool" in capsys.readouterr().err
