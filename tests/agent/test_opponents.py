"""The built-in opponents and the paths they walk."""

from __future__ import annotations

import dataclasses
import heapq
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.scripted import make_act
from agent.scripted import names as opponents
from agent.scripted.farmer.turn import Turn
from agent.scripted.paths import (
    CLOSED,
    DIG,
    STEPS,
    connected,
    enter_cost,
    footprint,
    moves,
    neighbours,
    route_from,
    route_to,
    walk_from,
    walk_to,
)
from agent.scripted.placement import mean_around
from agent.scripted.protocol import View, plain
from agent.scripted.raider.bot import Raid
from agent.scripted.raider.bot import act as raid_on
from agent.scripted.random.bot import choose
from agent.scripted.reaper.bot import Reap
from agent.scripted.reaper.bot import act as reap_on
from arena.match import PLAYERS, Referee, env_settings, play_match
from engine.config import CELLS, SIZE, GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from wrappers.action import DIRECTIONS, KINDS, MASK_BITS, MOVE, MOVE_BIT, PICKUP, PICKUP_BIT, RESOURCES, TRANSFER, TRANSFER_BIT
from wrappers.masks import flood
from wrappers.scripted import ScriptedSide, judge_observation


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


def test_ground_is_connected_by_steps_over_it() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        ground, start = rng.random((12, 12)) < 0.6, rng.random((12, 12)) < 0.03
        expected = start.copy()
        for _ in range(144):
            x, y = np.nonzero(expected)
            for dx, dy in STEPS[1:]:
                near = (np.clip(x + dx, 0, 11), np.clip(y + dy, 0, 11))
                expected[near] |= ground[near]
        assert np.array_equal(connected(start, ground), expected)


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
    assert {"idle", "random", "miner", "farmer", "raider", "reaper", "warden"} <= set(opponents())


class Side:
    """An agent of a match on the official engine in this process, by its decision function."""

    def __init__(self, player: str, act: Callable[[View], dict[str, Any]]) -> None:
        self.player, self.act, self.view = player, act, View()

    def answer(self, referee: Referee) -> dict[str, Any]:
        info = {"env_cfg": referee.env_cfg} if referee.step == 0 else {}
        obs = json.loads(referee.observation)
        self.view.update({"obs": obs, "step": referee.step, "remainingOverageTime": 60, "player": self.player, "info": info})
        return plain(self.act(self.view))


def built_in(name: str) -> Callable[[View], dict[str, Any]]:
    return importlib.import_module(f"agent.scripted.{name}.main").make()


def play_turn(referee: Referee, sides: list[Side]) -> None:
    """One turn; no order may be rejected."""
    assert referee.play({side.player: side.answer(referee) for side in sides}) == {}


def official_match(left: str, right: str, seed: int, size: int, turns: int = 1000) -> Referee:
    """A match on the official engine, up to a number of real turns; every factory must have been placed."""
    referee = Referee(seed, env_settings(size))
    sides = [Side(player, built_in(name)) for player, name in zip(PLAYERS, (left, right))]
    while not referee.done and referee.env.state.real_env_steps < turns:
        play_turn(referee, sides)
        if referee.turns == 1:
            assert [referee.side(player)[1] for player in PLAYERS] == [referee.env.state.board.factories_per_team] * 2
    return referee


def fast_match(left: str, right: str, seed: int, size: int, turns: int = 1000) -> Any:
    """The record of a game on the fast engine after so many real turns, or at its end."""
    config = GameConfig.for_map_size(size)
    engine = Engine(config, 1)
    engine.reset(0, MapPool(config, [seed]), 0)
    sides = [ScriptedSide(lambda name=name: make_act(name), config) for name in (left, right)]
    while not engine.games[0].done and engine.games[0].real_step < turns:
        for player, side in enumerate(sides):
            side.write_orders(engine.games[0], engine.rules, player, engine.orders[0])
        engine.step()
    return engine.games[0]


@pytest.mark.parametrize(("size", "seed"), [(48, 1), (64, 4)])
def test_miners_live_to_the_last_turn(size: int, seed: int) -> None:
    referee = official_match("miner", "miner", seed, size)
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


@pytest.mark.parametrize(("left", "right", "size"), [("farmer", "raider", 48), ("random", "farmer", 64), ("warden", "raider", 48)])
def test_no_order_is_rejected(left: str, right: str, size: int) -> None:
    assert official_match(left, right, 3, size, turns=60).turns == 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("left", "right", "size"),
    [("farmer", "raider", 48), ("raider", "miner", 64), ("farmer", "random", 48), ("reaper", "farmer", 48), ("marshal", "warden", 64)],
)
def test_no_order_is_rejected_in_whole_games(left: str, right: str, size: int) -> None:
    referee = official_match(left, right, 5, size)
    assert referee.turns == 1000 or "random" in (left, right)


def test_farmer_grows_early() -> None:
    """Against `idle`, which is dead after 151 turns, so that no game with it is longer."""
    game = fast_match("idle", "farmer", 7, 48)
    assert game.real_step == 151 and game.reward[1] > game.reward[0]
    assert game.lichen_total[1] > 2000


@pytest.mark.slow
@pytest.mark.parametrize(("size", "seeds"), [(48, range(6)), (64, range(2))])
def test_farmer_beats_miner_by_lichen(size: int, seeds: range) -> None:
    lichen = []
    for seed in seeds:
        side = seed % 2
        game = fast_match(*(("miner", "farmer") if side else ("farmer", "miner")), seed, size)
        assert game.real_step == 1000 and game.reward[side] > game.reward[1 - side]
        lichen.append(int(game.lichen_total[side]))
    assert np.mean(lichen) >= 20_000


def test_same_game_twice() -> None:
    first, second = (fast_match("random", "farmer", 11, 48, turns=50) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_raider_kills_a_weaker_robot() -> None:
    """A heavy raider and an enemy light are planted on open ground; the light must die and the heavy live."""
    from luxai_s2.unit import UnitType

    referee = Referee(2, env_settings(48))
    raid = Raid()
    sides = [Side("player_0", lambda view: raid_on(raid, view)), Side("player_1", built_in("idle"))]
    while referee.env.state.real_env_steps < 1:
        play_turn(referee, sides)
    state = referee.env.state
    tiles = {(f.pos.x + dx, f.pos.y + dy) for p in PLAYERS for f in state.factories[p].values() for dx in (-2, 0, 2) for dy in (-2, 0, 2)}
    near = [f.pos for f in state.factories["player_0"].values()][0]
    place = next((x, near.y) for x in (near.x + 4, near.x - 8) if 0 <= x < 44 and not {(x + k, near.y) for k in range(6)} & tiles)
    raider = referee.env.add_unit(state.teams["player_0"], UnitType.HEAVY, np.array(place))
    raider.power = 2500
    prey = referee.env.add_unit(state.teams["player_1"], UnitType.LIGHT, np.array([place[0] + 3, place[1]]))
    play_turn(referee, sides)  # by an observation from before
    raid.raiders.add(raider.unit_id)
    for _ in range(12):
        play_turn(referee, sides)
    assert prey.unit_id not in state.units["player_1"]
    assert raider.unit_id in state.units["player_0"]


@pytest.mark.slow
def test_reaper_digs_up_what_the_farmer_grew() -> None:
    """In its last turns the farmer's fields shrink, and it ends farther ahead of the farmer than another farmer does."""
    lead = {"farmer": 0, "reaper": 0}
    for seed in (3, 5, 7):
        for left in lead:
            ours, theirs = fast_match(left, "farmer", seed, 48).lichen_total
            lead[left] += int(ours) - int(theirs)
            if left == "reaper":
                assert theirs < fast_match(left, "farmer", seed, 48, turns=940).lichen_total[1]
    assert lead["reaper"] > 1.5 * lead["farmer"] > 0


def test_a_reaper_digs_the_lichen_it_stands_on_and_walks_to_the_next() -> None:
    """A charged heavy beside enemy lichen late in a game: it walks there, digs until the tile is bare, and goes on to another one."""
    game = fast_match("miner", "farmer", 4, 48, turns=150)
    fields = np.flatnonzero((game.lichen > 20) & (game.robot_at < 0))
    assert len(fields) > 20
    obs = judge_observation(game, 48)
    unit = next(shown for shown in obs["units"]["player_0"].values() if shown["unit_type"] == "HEAVY")
    unit.update(pos=list(divmod(int(fields[0]), SIZE)), power=2500, action_queue=[])
    view = View()
    config = dataclasses.replace(GameConfig.for_map_size(48), max_episode_length=300)
    info = {"env_cfg": config.official()}
    view.update({"obs": obs, "step": int(game.env_steps), "remainingOverageTime": 60, "player": "player_0", "info": info})
    reap = Reap()
    reap.reapers.add(unit["unit_id"])
    assert reap_on(reap, view)[unit["unit_id"]] == [[DIG, 0, 0, 0, 0, 1]]
    view.boards["lichen"][tuple(unit["pos"])] = 0
    walk = reap_on(reap, view)[unit["unit_id"]]
    x, y = unit["pos"]
    for kind, direction, *_, count in walk:
        assert kind == 0 and direction > 0  # a move, as the judge numbers it
        x, y = x + STEPS[direction][0] * count, y + STEPS[direction][1] * count
    assert view.boards["lichen"][x, y] > 0


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**MASK_BITS - 1), st.integers(0, 2**32 - 1))
def test_random_picks_what_the_mask_allows(bits: int, seed: int) -> None:
    mask = bits | 1  # to wait is always legal; a kind with details is legal only if one of them is
    for kind, first, count in (
        (MOVE, MOVE_BIT, DIRECTIONS),
        (TRANSFER, TRANSFER_BIT, DIRECTIONS * RESOURCES),
        (PICKUP, PICKUP_BIT, RESOURCES),
    ):
        if not mask >> first & ((1 << count) - 1):
            mask &= ~(1 << kind)
    kind, direction, resource, amount = choose(mask, np.random.default_rng(seed))
    assert 0 <= kind < KINDS and mask >> kind & 1
    if kind == MOVE:
        assert mask >> (MOVE_BIT + direction) & 1
    elif kind == TRANSFER:
        assert mask >> (TRANSFER_BIT + direction * RESOURCES + resource) & 1
    elif kind == PICKUP:
        assert mask >> (PICKUP_BIT + resource) & 1
    else:
        assert direction == resource == amount == 0


def test_growth_is_that_of_the_masks() -> None:
    """The farmer's count of the tiles that watering reaches agrees with the flood fill that the masks are made with."""
    game = fast_match("farmer", "farmer", 4, 48, turns=120)
    config = GameConfig.for_map_size(48)
    nobody = (np.full(CELLS, -1, np.int16), game.robot_heavy, np.zeros(2, np.int32))
    boards = (game.rubble, game.ice, game.ore, game.lichen, game.strain, game.factory_at)
    for player, name in enumerate(PLAYERS):
        view = View()
        obs = judge_observation(game, 48)
        info = {"env_cfg": config.official()}
        view.update({"obs": obs, "step": int(game.env_steps), "remainingOverageTime": 60, "player": name, "info": info})
        turn = Turn(view)
        for factory in turn.factories.values():
            f = factory.number
            tiles, own = flood(f, int(game.factory_cell[f]), 48, config.min_lichen_to_spread, *boards, *nobody, True, CELLS)
            found = turn.growth(factory)
            assert game.factory_owner[f] == player and found[:2] == (tiles, own)
            assert own > 5
