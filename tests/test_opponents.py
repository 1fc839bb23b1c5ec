"""The built-in opponents and the paths they walk."""

from __future__ import annotations

import heapq
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from submission.match import PLAYERS, Referee, env_settings, play_match
from submission.opponents import names as opponents
from submission.opponents.miner.bot import Miner
from submission.opponents.paths import CLOSED, STEPS, enter_cost, footprint, moves, neighbours, route_from, route_to, walk_from, walk_to
from submission.opponents.placement import mean_around
from submission.protocol import View, plain


@st.composite
def grounds(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
    """(cost of entering [W, W], start, targets [W, W])."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(2, 12))
    rubble = rng.integers(0, 101, (size, size)) * (rng.random((size, size)) < 0.7)
    closed = rng.random((size, size)) < draw(st.sampled_from([0.0, 0.2, 0.5]))
    start = (int(rng.integers(size)), int(rng.integers(size)))
    closed[start] = False
    return enter_cost(rubble, 20, 1, closed), start, rng.random((size, size)) < 0.15


def dijkstra(start: tuple[int, int], cost: np.ndarray) -> np.ndarray:
    """The same field by the textbook."""
    field = np.full(cost.shape, CLOSED, np.int64)
    field[start] = 0
    queue = [(0, start)]
    while queue:
        price, cell = heapq.heappop(queue)
        if price > field[cell]:
            continue
        for _, after in neighbours(cell, len(cost)):
            if cost[after] < CLOSED and price + cost[after] < field[after]:
                field[after] = price + cost[after]
                heapq.heappush(queue, (int(field[after]), after))
    return field


def follow(start: tuple[int, int], directions: list[int], cost: np.ndarray) -> tuple[tuple[int, int], int]:
    """(end, power) of a walk."""
    cell, power = start, 0
    for direction in directions:
        cell = (cell[0] + STEPS[direction][0], cell[1] + STEPS[direction][1])
        power += int(cost[cell])
    return cell, power


@settings(max_examples=60, deadline=None)
@given(grounds())
def test_walks_are_the_cheapest(ground: tuple[np.ndarray, tuple[int, int], np.ndarray]) -> None:
    cost, start, targets = ground
    out, back = walk_from(start, cost), walk_to(targets, cost)
    assert np.array_equal(out, dijkstra(start, cost))
    reached = [(int(x), int(y)) for x, y in np.argwhere(targets & (cost < CLOSED))]
    best = min((int(out[target]) for target in reached), default=CLOSED)
    assert back[start] == (0 if targets[start] else best)
    for target in reached[:3]:
        if out[target] < CLOSED:
            assert follow(start, route_from(out, cost, target), cost) == (target, out[target])
    if back[start] < CLOSED:
        end, power = follow(start, route_to(back, cost, start), cost)
        assert targets[end] and power == back[start]


def test_moves_joins_straight_stretches() -> None:
    entries = moves([1, 1, 2, 1, 1, 1])
    assert entries == [[0, 1, 0, 0, 0, 2], [0, 2, 0, 0, 0, 1], [0, 1, 0, 0, 0, 3]]
    assert moves([]) == []


def test_an_unreachable_place_is_an_error() -> None:
    cost = np.full((3, 3), CLOSED, np.int32)
    with pytest.raises(ValueError, match="cannot be reached"):
        route_from(walk_from((0, 0), cost), cost, (2, 2))


def test_mean_around_is_the_mean_of_the_square() -> None:
    board = np.random.default_rng(1).integers(0, 100, (9, 9))
    assert np.isclose(mean_around(board, 2)[4, 5], board[2:7, 3:8].mean())
    assert np.allclose(mean_around(np.full((5, 5), 7), 3), 7)
    assert footprint([(0, 0), (4, 4)], 5).sum() == 8


def test_all_opponents_are_folders_with_main() -> None:
    assert {"idle", "miner"} <= set(opponents())


def mirror_match(seed: int, size: int) -> Referee:
    """Miner against miner on the official engine in this process; no order may be rejected."""
    referee = Referee(seed, env_settings(size))
    views, miners = {player: View() for player in PLAYERS}, {player: Miner() for player in PLAYERS}
    placed = None
    while not referee.done:
        info = {"env_cfg": referee.env_cfg} if referee.step == 0 else {}
        actions = {}
        for player in PLAYERS:
            obs = json.loads(referee.observation)
            views[player].update({"obs": obs, "step": referee.step, "remainingOverageTime": 60, "player": player, "info": info})
            actions[player] = plain(miners[player].act(views[player]))
        assert referee.play(actions) == {}
        if referee.turns == 1 and placed is None:
            placed = [referee.side(player)[1] for player in PLAYERS]
            assert placed == [referee.env.state.board.factories_per_team] * 2
    return referee


@pytest.mark.parametrize(("size", "seed"), [(48, 1), (64, 4)])
def test_miners_live_to_the_last_turn(size: int, seed: int) -> None:
    referee = mirror_match(seed, size)
    assert referee.turns == 1000
    for player in PLAYERS:
        _, factories, robots = referee.side(player)
        assert factories == robots == referee.env.state.board.factories_per_team
        assert min(f.cargo.water for f in referee.env.state.factories[player].values()) > 500


@pytest.mark.slow
@pytest.mark.parametrize("size", [48, 64])
def test_miners_live_on_many_maps(size: int, tmp_path: Path) -> None:
    """In processes, against each other: nobody fails, and at least 95 % of all factories live to the end."""
    alive = placed = 0
    for seed in range(10):
        result = play_match("miner", "miner", seed=seed, map_size=size, log_dir=tmp_path)
        assert result.turns == 1000 and result.left.error is None and result.right.error is None, (seed, result.reason)
        placed += 2 * int(Referee(seed, env_settings(size)).env.state.board.factories_per_team)
        alive += result.left.factories + result.right.factories
    assert alive >= 0.95 * placed


@pytest.mark.slow
@pytest.mark.parametrize("size", [48, 64])
def test_miners_outlive_idle(size: int) -> None:
    for seed in range(10):
        players = ("miner", "idle") if seed % 2 else ("idle", "miner")
        result = play_match(*players, seed=seed, map_size=size)
        assert result.winner == ("left" if seed % 2 else "right"), (seed, result.reason)
