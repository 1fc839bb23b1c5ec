"""The codec between rows and queues: what is chosen is what is queued, and nothing is sent that is queued already."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import MAX_FACTORIES, MAX_ROBOTS, GameConfig
from engine.state import ICE, ORDERS_DTYPE, POWER, empty_orders
from tests import streams
from tests.parity import SCENE, Pair, Scene
from tests.rows import Rows, sample
from tests.wrappers.test_masks import EVERYTHING, prepare_busy, started
from wrappers.action import (
    BUILD_HEAVY,
    DIG,
    LONG,
    MOVE,
    PICKUP,
    TRANSFER,
    WAIT,
    ActionConfig,
    decode,
    entry_amount,
    level_amount,
    next_cell,
    write_all_orders,
)

NIGHT = GameConfig.for_map_size(48, min_factories=2, max_factories=2, day_length=0)


def orders_for(rows: Rows, action: np.ndarray) -> Any:
    orders = empty_orders(1)
    write_all_orders(rows.engine.games, rows.rules, rows.obs.side, rows.obs.slot, action, rows.obs.rows, orders)
    return orders[0]


def robot_of(rows: Rows, i: int) -> int:
    return int(rows.obs.side[i]) % 2 * MAX_ROBOTS + int(rows.obs.slot[i]) - MAX_FACTORIES


def only(rows: Rows, action: list[int]) -> np.ndarray:
    """The first robot of player 0 does this, everybody else waits."""
    chosen = np.zeros((rows.obs.rows, 4), np.int64)
    chosen[int(np.flatnonzero((rows.obs.kind > 0) & (rows.obs.side == 0))[0])] = action
    return chosen


@given(st.integers(1, 30_000), st.integers(0, 2))
def test_a_level_is_a_quarter_a_half_or_all_rounded_up(most: int, level: int) -> None:
    assert level_amount(most, level) == math.ceil(most * (0.25, 0.5, 1)[level])


def test_an_amount_is_never_nothing() -> None:
    assert [level_amount(0, level) for level in range(3)] == [1, 1, 1]


def test_what_is_written_reads_back_as_what_was_chosen_and_is_not_written_again() -> None:
    rng = np.random.default_rng(1)
    pair: Pair = started(GameConfig.for_map_size(48), 1, rng, prepare_busy)
    rows = Rows(pair, EVERYTHING)
    seen, held = np.zeros(10, int), 0
    for _ in range(12):
        action = sample(rows.obs.mask, rng)
        orders = orders_for(rows, action)
        game = pair.game.copy()
        for i in np.flatnonzero(rows.obs.kind > 0).tolist():
            r, cost = robot_of(rows, i), rows.rules.action_queue_power_cost[rows.obs.kind[i] - 1]
            if game.robot_power[r] < cost:
                assert orders.queue_len[r] == -1, "a robot that cannot pay is left alone"
                continue
            if orders.queue_len[r] >= 0:
                game.queue_len[r], game.queue[r] = orders.queue_len[r], orders.queue[r]
            if action[i, 0] == MOVE and next_cell(pair.game, rows.rules, orders, r) == pair.game.robot_cell[r]:
                held += 1  # it gives way to a friend
                continue
            read = np.zeros(4, np.int64)
            assert decode(game, rows.rules, r, read)
            kind, direction, resource = (int(v) for v in action[i, :3])
            assert read[:3].tolist() == [kind, direction, resource]
            amounts = [entry_amount(game, rows.rules, r, kind, direction, resource, int(level)) for level in (action[i, 3], read[3])]
            assert amounts[0] == amounts[1]
            action[i] = read
            seen[kind] += 1
        kept = pair.engine.games[0].copy()
        pair.engine.games[0] = game
        again = orders_for(rows, action)
        assert (again.queue_len == -1).all()
        pair.engine.games[0] = kept
        rows.play(action)
    assert (seen[[WAIT, MOVE, TRANSFER, DIG]] > 10).all() and held > 0, (seen, held)


def crowd(env: Any, rng: np.random.Generator) -> None:
    streams.prepare_meadow(env, rng)
    streams.prepare_robots(env, rng, 60, area=14)


@pytest.mark.parametrize("seed", range(3))
def test_friends_never_collide(seed: int) -> None:
    """Whatever robots of a side choose, only an enemy is ever in their way."""
    rng = np.random.default_rng(seed)
    pair: Pair = started(GameConfig.for_map_size(48), 1, rng, crowd)
    rows = Rows(pair, dataclasses.replace(EVERYTHING, self_destruct=False))
    moves = held = 0
    for _ in range(15):
        action = sample(rows.obs.mask, rng)
        orders = orders_for(rows, action)
        before = pair.game.copy()
        for player in range(2):
            wanted = [
                next_cell(before, rows.rules, orders, r)
                for r in range(player * MAX_ROBOTS, (player + 1) * MAX_ROBOTS)
                if before.robot_alive[r] and before.robot_power[r] >= rows.rules.action_queue_power_cost[before.robot_heavy[r]]
            ]
            assert len(set(wanted)) == len(wanted)
        chose = [robot_of(rows, int(i)) for i in np.flatnonzero(action[:, 0] == MOVE)]
        moves += len(chose)
        held += sum(next_cell(before, rows.rules, orders, r) == before.robot_cell[r] for r in chose)
        rows.play(action)
    assert held > 10 and moves > 4 * held, (moves, held)


def test_a_chain_gives_way_from_its_front() -> None:
    """The heavy goes on; the light that wanted its cell waits, and so does the one that wanted that light's cell."""
    world = Scene(NIGHT)
    first = world.robot(0, "light", (20, 20), power=100)
    world.robot(0, "light", (19, 20), power=100)
    world.robot(0, "heavy", (21, 21), power=1000)
    world.reload()
    rows = Rows(world, ActionConfig(avoid_friends=False))
    action = np.zeros((rows.obs.rows, 4), np.int64)
    robots = np.flatnonzero((rows.obs.kind > 0) & (rows.obs.side == 0))
    for i in robots:
        cell = int(rows.obs.cell[i])
        action[i] = [MOVE, 1 if cell // 64 == 21 else 2, 0, 0]  # the heavy up to (21, 20), the lights to the right
    orders = orders_for(rows, action)
    going = [next_cell(world.game, rows.rules, orders, robot_of(rows, int(i))) for i in robots]
    assert sorted((cell // 64, cell % 64) for cell in going) == [(19, 20), (20, 20), (21, 20)], first


def test_what_has_no_row_is_not_decoded() -> None:
    rows = Rows(world_with("light", (20, 20)), EVERYTHING)
    game, read = rows.pair.game, np.zeros(4, np.int64)
    assert decode(game, rows.rules, 0, read) and read[0] == WAIT
    game.queue_len[0] = 1
    game.queue[0, 0] = [0, 0, 0, 0, 0, 1]
    assert not decode(game, rows.rules, 0, read), "a centre move"
    game.queue[0, 0] = [1, 2, ICE, 77, 0, 1]
    assert not decode(game, rows.rules, 0, read), "an amount that no level gives"


def world_with(kind: str, cell: tuple[int, int], config: GameConfig = NIGHT, **stock: int) -> Scene:
    world = Scene(config)
    world.robot(0, kind, cell, **{"power": 100, **stock})
    world.reload()
    return world


def test_digging_on_pays_for_one_order_only() -> None:
    world = world_with("light", (20, 20), power=100)
    world.env.state.board.ice[20, 20] = 1
    world.reload()
    rows = Rows(world, EVERYTHING)
    for turn in range(1, 11):
        rows.play(only(rows, [DIG, 0, 0, 0]))
        assert world.game.robot_power[0] == 100 - 1 - 5 * turn
        assert world.game.robot_cargo[0, ICE] == 2 * turn
    assert world.game.queue[0, 0, 5] == LONG - 10


def test_walking_on_is_free_and_a_turn_is_not() -> None:
    world = world_with("heavy", (20, 20), power=1000)
    rows = Rows(world, EVERYTHING)
    spent = []
    for action in ([MOVE, 2, 0, 0], [MOVE, 2, 0, 0], [MOVE, 3, 0, 0], [WAIT, 0, 0, 0], [WAIT, 0, 0, 0], [MOVE, 3, 0, 0]):
        before = int(world.game.robot_power[0])
        rows.play(only(rows, action))
        spent.append(before - int(world.game.robot_power[0]))
    assert spent == [30, 20, 30, 10, 0, 30], "a stop costs an order once, standing costs nothing"


def test_amounts_are_what_giver_and_taker_allow() -> None:
    world = world_with("light", (12, 10), ice=10)
    world.robot(0, "light", (12, 11), ice=97)
    world.reload()
    rows = Rows(world, EVERYTHING)
    for action, amount in [
        ([TRANSFER, 4, ICE, 0], 3),
        ([TRANSFER, 4, ICE, 1], 5),
        ([TRANSFER, 4, ICE, 2], 10),
        ([TRANSFER, 3, ICE, 2], 3),
        ([TRANSFER, 4, POWER, 2], 99),
        ([TRANSFER, 4, POWER, 0], 25),
    ]:
        orders = orders_for(rows, only(rows, action))
        assert orders.queue_len[0] == 1 and orders.queue[0, 0].tolist() == [1, action[1], action[2], amount, 0, 1]
    assert (orders.queue_len[1:] == -1).all()


def test_a_pickup_fills_the_battery_after_paying_for_the_order() -> None:
    world = world_with("heavy", (11, 10), power=2600)
    rows = Rows(world, EVERYTHING)
    rows.play(only(rows, [PICKUP, 0, POWER, 2]))
    assert world.game.robot_power[0] == 3000
    assert world.game.factory_power[0] == 1000 - 410 + 50


def test_amounts_stay_within_the_largest_transfer() -> None:
    config = dataclasses.replace(SCENE, max_transfer_amount=40)
    world = world_with("heavy", (12, 10), config, ice=500, power=1500)
    rows = Rows(world, EVERYTHING)
    for resource in (ICE, POWER):
        assert orders_for(rows, only(rows, [TRANSFER, 4, resource, 2])).queue[0, 0, 3] == 40


def test_factories_are_ordered_by_number() -> None:
    world = Scene(NIGHT)
    rows = Rows(world, EVERYTHING)
    action = np.zeros((rows.obs.rows, 4), np.int64)
    last = int(np.flatnonzero(rows.obs.side == 1)[1])
    action[last, 0] = BUILD_HEAVY
    orders = orders_for(rows, action)
    wanted = np.full_like(orders.factory, -1)
    wanted[3] = 1  # factories are placed in turns, so the second of player 1 is number 3
    assert np.array_equal(orders.factory, wanted)
    assert orders.dtype == ORDERS_DTYPE


@pytest.mark.parametrize(("power", "sent"), [(9, False), (10, True)])
def test_a_stop_is_sent_only_by_those_who_can_pay(power: int, sent: bool) -> None:
    world = world_with("heavy", (20, 20), power=power)
    world.game.queue_len[0] = 1
    world.game.queue[0, 0] = [3, 0, 0, 0, 0, 9]
    rows = Rows(world, EVERYTHING)
    assert orders_for(rows, only(rows, [WAIT, 0, 0, 0])).queue_len[0] == (0 if sent else -1)
