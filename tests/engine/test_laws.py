"""Laws that the compiled engine keeps whatever is ordered: conservation, ranges, consistency, independence, determinism."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import MAX_ROBOTS, QUEUE, SIZE, GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from engine.state import (
    DIG,
    FACTORIES,
    HEAVIES_BUILT,
    ICE,
    ICE_DUG,
    LICHEN_GROWN,
    LIGHTS_BUILT,
    METAL,
    METAL_MADE,
    MOVE,
    ORE,
    ORE_DUG,
    PICKUP,
    POWER,
    RECHARGE,
    ROBOTS,
    RUBBLE_DUG,
    SELF_DESTRUCT,
    TRANSFER,
    WATER,
    WATER_LICHEN,
    WATER_MADE,
    WATER_SPENT,
    board,
    empty_orders,
)
from tests.consistent import check_consistent

GAMES = 4
CONFIGS = (
    GameConfig.for_map_size(48),
    GameConfig.for_map_size(24, min_factories=1, max_factories=2, max_rubble=60, min_lichen_to_spread=3),
)
ANY = (0.4, 0.2, 0.15, 0.2, 0.02, 0.03)  # shares of MOVE, TRANSFER, PICKUP, DIG, SELF_DESTRUCT, RECHARGE
NO_GOODS = (0.5, 0.0, 0.0, 0.45, 0.02, 0.03)  # nothing changes hands
SEEDS = st.integers(0, 2**32 - 1)
some = settings(max_examples=12, deadline=None)


@functools.cache
def pool_of(config: GameConfig) -> MapPool:
    return MapPool(config, list(range(GAMES)), processes=1)


def order_opening(engine: Engine, rng: np.random.Generator) -> None:
    """Bids and placements, some of them impossible."""
    games, orders = engine.games, engine.orders
    orders["bid"][:] = rng.integers(-30, 31, orders["bid"].shape)
    for i in range(len(games)):
        cells = np.flatnonzero(games["spawnable"][i])
        orders["spawn"][i] = rng.choice(cells, 2) if rng.random() < 0.9 else rng.integers(-1, SIZE * engine.config.map_size - SIZE, 2)
    orders["spawn_water"][:] = rng.integers(-2, 200, orders["spawn_water"].shape)
    orders["spawn_metal"][:] = rng.integers(-2, 200, orders["spawn_metal"].shape)


def order_anything(engine: Engine, rng: np.random.Generator, shares: tuple[float, ...] = ANY) -> None:
    """Random queues for a third of the robots and random actions for most factories."""
    orders, shape = engine.orders, (len(engine.games), ROBOTS)
    ordered = (engine.games["robot_alive"] == 1) & (rng.random(shape) < 0.35)
    count = int(ordered.sum())
    queue = np.zeros((count, QUEUE, 6), np.int16)
    queue[..., 0] = rng.choice(6, (count, QUEUE), p=shares)
    queue[..., 1] = rng.integers(0, 5, (count, QUEUE))
    queue[..., 2] = rng.integers(0, 5, (count, QUEUE))
    queue[..., 3] = rng.choice([0, 1, 7, 50, 1000, 3001], (count, QUEUE))
    queue[..., 4] = rng.choice([0, 0, 1, 9999], (count, QUEUE))
    queue[..., 5] = rng.choice([1, 1, 2, 9999], (count, QUEUE))
    orders["queue"][ordered] = queue
    orders["queue_len"][ordered] = rng.choice([0, 1, 2, 3, QUEUE], count)
    orders["factory"][:] = rng.choice([-1, 0, 1, 2], (len(engine.games), FACTORIES), p=[0.3, 0.25, 0.15, 0.3])


def started(config: GameConfig, rng: np.random.Generator, stock: int = 3000, games: int = GAMES, threads: int = 1) -> Engine:
    """Games after the opening on generous ground, whose factories have `stock` of water, metal and power."""
    engine = Engine(config, games, threads)
    for i in range(games):
        engine.reset(i, pool_of(config), i)
    while engine.games["real_step"].min() < 0:
        order_opening(engine, rng)
        opening = engine.games["real_step"] < 0
        for i in np.flatnonzero(opening).tolist():
            engine.step(i, i + 1)
    engine.orders[:] = empty_orders(games)
    alive = engine.games["factory_alive"] == 1
    engine.games["factory_power"][alive] = stock
    for resource in (WATER, METAL):
        engine.games["factory_cargo"][..., resource][alive] = stock
    for resource in (ICE, ORE):
        engine.games["factory_cargo"][..., resource][alive] = rng.integers(0, 500, int(alive.sum()))
    for name, share in (("ice", 0.1), ("ore", 0.1), ("rubble", 0.6)):  # more to dig near home, and room to grow
        ground = board(engine.games, name, config.map_size)
        free = (board(engine.games, "factory_at", config.map_size) < 0) & (rng.random(ground.shape) < share)
        ground[free] = name != "rubble"
    engine.games["fill_dirty"] = 1
    return engine


def content(games: np.ndarray) -> bytes:
    """All fields of games as bytes; the padding between fields is not part of a state."""
    return b"".join(np.ascontiguousarray(games[name]).tobytes() for name in games.dtype.names or ())


def resource_total(games: np.ndarray, resource: int) -> np.ndarray:
    """What factories and living robots hold of one resource, `[N]`."""
    if resource == POWER:
        at_factory, at_robot = games["factory_power"], games["robot_power"]
    else:
        at_factory, at_robot = games["factory_cargo"][..., resource], games["robot_cargo"][..., resource]
    return (at_factory * games["factory_alive"]).sum(1) + (at_robot * games["robot_alive"]).sum(1)


def both_sides(games: np.ndarray, name: str) -> np.ndarray:
    """A total over both sides, `[N, events]`."""
    return games[name].sum(1)


# ---------------------------------------------------------------------------------------------------------- consistency


@some
@given(seed=SEEDS, config=st.sampled_from(CONFIGS), stock=st.sampled_from([60, 3000]))
def test_states_stay_consistent(seed: int, config: GameConfig, stock: int):
    rng = np.random.default_rng(seed)
    engine = started(config, rng, stock)
    for turn in range(70):
        order_anything(engine, rng)
        engine.step()
        if turn % 5 == 0:
            check_consistent(engine)
    check_consistent(engine)


@some
@given(seed=SEEDS, config=st.sampled_from(CONFIGS))
def test_totals_are_the_sums_of_events(seed: int, config: GameConfig):
    rng = np.random.default_rng(seed)
    engine = started(config, rng)
    games = engine.games
    for _ in range(40):
        robots, factories = games["robot_total"].copy(), games["factory_total"].copy()
        running = games["done"] == 0
        order_anything(engine, rng)
        engine.step()
        for player in range(2):
            side = slice(player * MAX_ROBOTS, (player + 1) * MAX_ROBOTS)
            acted = (games["robot_alive"] | games["robot_died"])[:, side, None]
            events = (games["robot_event"][:, side] * acted).sum(1) * running[:, None]
            assert np.array_equal(games["robot_total"][:, player] - robots[:, player], events)
            mine = (games["factory_owner"] == player) & (np.arange(FACTORIES) < games["factory_count"][:, None])
            events = (games["factory_event"] * mine[..., None]).sum(1) * running[:, None]
            assert np.array_equal(games["factory_total"][:, player] - factories[:, player], events)
        assert np.array_equal(games["factory_total"][..., LICHEN_GROWN], games["lichen_total"])


@some
@given(seed=SEEDS, config=st.sampled_from(CONFIGS))
def test_orders_are_used_up(seed: int, config: GameConfig):
    rng = np.random.default_rng(seed)
    engine = started(config, rng)
    for _ in range(12):
        order_anything(engine, rng)
        engine.step()
        playing = engine.games["done"] == 0
        assert (engine.orders["queue_len"][playing] == -1).all()
        placed = np.arange(FACTORIES) < engine.games["factory_count"][:, None]
        assert (engine.orders["factory"][placed & playing[:, None]] == -1).all()
        engine.orders[:] = empty_orders(GAMES)


# --------------------------------------------------------------------------------------------------------- conservation


@some
@given(seed=SEEDS, config=st.sampled_from(CONFIGS))
def test_the_opening_spends_only_the_bid(seed: int, config: GameConfig):
    rng = np.random.default_rng(seed)
    engine = Engine(config, GAMES)
    for i in range(GAMES):
        engine.reset(i, pool_of(config), i)
    stock = config.init_water_metal_per_factory * engine.games["factories_per_team"]
    for turn in range(2 * config.max_factories + 1):
        order_opening(engine, rng)
        opening = engine.games["real_step"] < 0
        for i in np.flatnonzero(opening).tolist():
            engine.step(i, i + 1)
        if turn == 0:
            paid = np.abs(engine.games["bid"]).max(1)
        for resource, name in ((WATER, "team_water"), (METAL, "team_metal")):
            held = engine.games[name].sum(1) + resource_total(engine.games, resource)
            assert np.array_equal(held, 2 * stock - paid)
        placed = engine.games["factory_count"] + engine.games["factories_to_place"].sum(1)
        assert np.array_equal(placed, 2 * engine.games["factories_per_team"])
        assert np.array_equal(engine.games["next_id"], engine.games["factory_count"])


@some
@given(seed=SEEDS, config=st.sampled_from(CONFIGS))
def test_nothing_comes_from_nothing(seed: int, config: GameConfig):
    """Under any orders a resource grows by no more than what was dug, refined, generated or came with new robots."""
    rng = np.random.default_rng(seed)
    engine = started(config, rng)
    games = engine.games
    for _ in range(60):
        before = [resource_total(games, k) for k in range(5)]
        made, dug = both_sides(games, "factory_total").copy(), both_sides(games, "robot_total").copy()
        factories, robots = games["factory_alive"].sum(1), games["robot_alive"].sum(1)
        order_anything(engine, rng)
        engine.step()
        made, dug = both_sides(games, "factory_total") - made, both_sides(games, "robot_total") - dug
        gain = [resource_total(games, k) - before[k] for k in range(5)]
        assert (gain[ICE] <= dug[:, ICE_DUG] - config.ice_water_ratio * made[:, WATER_MADE]).all()
        assert (gain[ORE] <= dug[:, ORE_DUG] - config.ore_metal_ratio * made[:, METAL_MADE]).all()
        assert (gain[WATER] <= made[:, WATER_MADE] - made[:, WATER_SPENT]).all()
        price = config.light.metal_cost * made[:, LIGHTS_BUILT] + config.heavy.metal_cost * made[:, HEAVIES_BUILT]
        assert (gain[METAL] <= made[:, METAL_MADE] - price).all()
        born = made[:, LIGHTS_BUILT] + made[:, HEAVIES_BUILT]
        lichen = config.power_per_connected_lichen_tile * games["factory_connected"].sum(1)
        income = config.factory_charge * factories + lichen + (robots + born) * config.heavy.charge
        assert (gain[POWER] <= income).all()  # a new robot's battery holds at most what its factory paid


@some
@given(seed=SEEDS, config=st.sampled_from(CONFIGS))
def test_without_transfers_every_entity_keeps_its_own_books(seed: int, config: GameConfig):
    """Exact for every survivor: cargo changes by what was dug, stocks by what was refined, drunk, watered, built, generated."""
    rng = np.random.default_rng(seed)
    engine = started(config, rng)
    games = engine.games
    light, heavy = config.light, config.heavy
    for _ in range(50):
        old = games.copy()
        order_anything(engine, rng, NO_GOODS)
        engine.step()
        playing = (old["done"] == 0)[:, None]
        same = (old["robot_alive"] == 1) & (games["robot_alive"] == 1) & (old["robot_id"] == games["robot_id"]) & playing
        cargo = games["robot_cargo"].astype(int) - old["robot_cargo"]
        assert np.array_equal(cargo[same][:, ICE], games["robot_event"][same][:, ICE_DUG])
        assert np.array_equal(cargo[same][:, ORE], games["robot_event"][same][:, ORE_DUG])
        assert not cargo[same][:, [WATER, METAL]].any()
        lives = (old["factory_alive"] == 1) & (games["factory_alive"] == 1) & playing
        event = games["factory_event"][lives]
        stock = (games["factory_cargo"] - old["factory_cargo"])[lives]
        assert np.array_equal(stock[:, ICE], -config.ice_water_ratio * event[:, WATER_MADE])
        assert np.array_equal(stock[:, WATER], event[:, WATER_MADE] - event[:, WATER_SPENT] - config.factory_water_consumption)
        price = light.metal_cost * event[:, LIGHTS_BUILT] + heavy.metal_cost * event[:, HEAVIES_BUILT]
        assert np.array_equal(stock[:, METAL], event[:, METAL_MADE] - price)
        spent = light.power_cost * event[:, LIGHTS_BUILT] + heavy.power_cost * event[:, HEAVIES_BUILT]
        income = config.factory_charge + config.power_per_connected_lichen_tile * games["factory_connected"][lives]
        assert np.array_equal((games["factory_power"] - old["factory_power"])[lives], income - spent)


@some
@given(seed=SEEDS, config=st.sampled_from(CONFIGS))
def test_rubble_goes_only_by_digging(seed: int, config: GameConfig):
    """Without deaths on the ground, rubble changes by exactly what was dug."""
    rng = np.random.default_rng(seed)
    engine = started(config, rng)
    games = engine.games
    for _ in range(50):
        rubble, dug = games["rubble"].astype(int).sum(1), both_sides(games, "robot_total").copy()
        factories, lichen = games["factory_alive"].sum(1), games["lichen"].copy()
        order_anything(engine, rng, NO_GOODS)
        engine.step()
        quiet = ~games["robot_died"].any(1) & (games["factory_alive"].sum(1) == factories)
        quiet &= ~((lichen > 0) & (games["rubble"] > 0)).any(1)  # digging out lichen leaves rubble
        change = games["rubble"].astype(int).sum(1) - rubble
        gone = (both_sides(games, "robot_total") - dug)[:, RUBBLE_DUG]
        assert np.array_equal(change[quiet], -gone[quiet])


@some
@given(seed=SEEDS, amounts=st.lists(st.integers(0, 30), min_size=40, max_size=40))
def test_trade_at_home_conserves_everything(seed: int, amounts: list[int]):
    """Heavies on their own factory's ground that give and take within their room: nothing is lost, whatever the amounts."""
    config = CONFIGS[0]
    rng = np.random.default_rng(seed)
    engine = started(config, rng)
    games, orders = engine.games, engine.orders
    orders["factory"][:] = 1
    engine.step()
    games["robot_power"][games["robot_alive"] == 1] = 1500
    for _ in range(20):
        alive = np.argwhere(games["robot_alive"] == 1)
        for i, r in alive:
            give = rng.random() < 0.5
            amount = amounts[int(rng.integers(len(amounts)))]
            resource = int(rng.integers(5))
            orders["queue"][i, r, 0] = [TRANSFER if give else PICKUP, 0, resource, amount, 0, 1]
            orders["queue_len"][i, r] = 1
        before = [resource_total(games, k) for k in range(5)]
        made = both_sides(games, "factory_total").copy()
        day = games["real_step"] % config.cycle_length < config.day_length
        playing = games["done"] == 0
        engine.step()
        made = both_sides(games, "factory_total") - made
        gain = [resource_total(games, k) - before[k] for k in range(5)]
        factories, robots = games["factory_alive"].sum(1) * playing, games["robot_alive"].sum(1) * playing
        assert np.array_equal(gain[ICE], -config.ice_water_ratio * made[:, WATER_MADE])
        assert np.array_equal(gain[ORE], -config.ore_metal_ratio * made[:, METAL_MADE])
        assert np.array_equal(gain[WATER], made[:, WATER_MADE] - factories)
        assert np.array_equal(gain[METAL], made[:, METAL_MADE])
        charge = day * config.heavy.charge - config.heavy.action_queue_power_cost
        assert np.array_equal(gain[POWER], config.factory_charge * factories + charge * robots)


# ---------------------------------------------------------------------------------------- independence and determinism


def recorded(config: GameConfig, seed: int, turns: int) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """The first state of a batch, the orders of every turn, and every state after it."""
    rng = np.random.default_rng(seed)
    engine = started(config, rng)
    first, orders, states = engine.games.copy(), [], []
    for _ in range(turns):
        order_anything(engine, rng)
        orders.append(engine.orders.copy())
        engine.step()
        states.append(engine.games.copy())
    return first, orders, states


@some
@given(seed=SEEDS, config=st.sampled_from(CONFIGS))
def test_a_game_plays_alone_as_in_a_batch(seed: int, config: GameConfig):
    first, orders, states = recorded(config, seed, 25)
    for i in range(GAMES):
        alone = Engine(config, 1)
        alone.games[0] = first[i]
        for order, state in zip(orders, states):
            alone.orders[0] = order[i]
            alone.step()
            assert content(alone.games[0]) == content(state[i])


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_nothing(threads: int):
    config = CONFIGS[0]
    first, orders, states = recorded(config, 11, 30)
    engine = Engine(config, GAMES, threads)
    engine.games[:] = first
    for order, state in zip(orders, states):
        engine.orders[:] = order
        engine.step()
        assert content(engine.games) == content(state)


@some
@given(seed=SEEDS, config=st.sampled_from(CONFIGS), cut=st.integers(0, 24))
def test_a_snapshot_restores_the_game(seed: int, config: GameConfig, cut: int):
    """Played on from a snapshot in the place of another game, a game goes as it did."""
    first, orders, states = recorded(config, seed, 25)
    engine = Engine(config, GAMES)
    engine.games[:] = first
    for turn in range(cut):
        engine.orders[:] = orders[turn]
        engine.step()
    snapshot = engine.games[1].copy()
    for turn in range(cut, len(orders)):
        engine.orders[:] = orders[turn]
        engine.step()
    engine.games[3] = snapshot
    for turn in range(cut, len(orders)):
        engine.orders[3] = orders[turn][1]
        engine.step(3, 4)
        assert content(engine.games[3]) == content(states[turn][1])


def test_the_same_orders_give_the_same_games():
    first, again = recorded(CONFIGS[1], 5, 40)[2], recorded(CONFIGS[1], 5, 40)[2]
    assert all(content(a) == content(b) for a, b in zip(first, again))


def test_a_part_of_the_batch_leaves_the_rest_alone():
    rng = np.random.default_rng(0)
    engine = started(CONFIGS[0], rng)
    order_anything(engine, rng)
    games, orders = engine.games.copy(), engine.orders.copy()
    engine.step(1, 3)
    for i, moved in enumerate((False, True, True, False)):
        assert (content(engine.games[i]) != content(games[i])) == moved
        assert (content(engine.orders[i]) != content(orders[i])) == moved


def test_a_done_game_stands_still():
    rng = np.random.default_rng(0)
    engine = started(CONFIGS[0], rng)
    engine.orders["lost"][2, 1] = 1
    engine.step()
    assert engine.games["done"].tolist() == [0, 0, 1, 0] and engine.games["reward"][2, 1] == -1000
    before = content(engine.games[2])
    for _ in range(3):
        order_anything(engine, rng)
        engine.step()
    assert content(engine.games[2]) == before


def test_slots_freed_in_a_turn_wait_for_the_next():
    """A robot that dies in the turn in which another is built does not share its slot with it."""
    rng = np.random.default_rng(0)
    engine = started(CONFIGS[0], rng, stock=100_000)
    games = engine.games
    for _ in range(150):
        slot_of = [dict(zip(g.robot_id[g.robot_alive == 1].tolist(), np.flatnonzero(g.robot_alive).tolist())) for g in games]
        order_anything(engine, rng)
        engine.step()
        for g, old in zip(games, slot_of):
            now = dict(zip(g.robot_id[g.robot_alive == 1].tolist(), np.flatnonzero(g.robot_alive).tolist()))
            assert all(now[ident] == r for ident, r in old.items() if ident in now), "a robot changed its slot"
            born = [r for ident, r in now.items() if ident not in old]
            assert not set(born) & set(old.values()), "a slot was given out in the turn that freed it"


def test_the_orders_reach_all_kinds_of_actions():
    """The random orders of this file do everything that there is to do, so that the laws above are about something."""
    rng = np.random.default_rng(1)
    engine = started(CONFIGS[0], rng)
    used: set[int] = set()
    for _ in range(60):
        order_anything(engine, rng)
        engine.step()
        fronts = engine.games["queue"][..., 0, 0][(engine.games["robot_alive"] == 1) & (engine.games["queue_len"] > 0)]
        used |= set(fronts.tolist())
    assert used == {MOVE, TRANSFER, PICKUP, DIG, SELF_DESTRUCT, RECHARGE}
    totals = engine.games["factory_total"].sum((0, 1))
    assert (totals[[LIGHTS_BUILT, HEAVIES_BUILT, WATER_SPENT, WATER_MADE]] > 0).all() and WATER_LICHEN == 2
    assert engine.games["robot_total"].sum((0, 1))[[ICE_DUG, RUBBLE_DUG]].all()
