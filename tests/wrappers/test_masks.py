"""Masks are sound (the official engine executes what they allow) and not needlessly narrow."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest

from engine.config import MAX_FACTORIES, MAX_ROBOTS, SIZE, GameConfig
from engine.official import PLAYERS
from engine.queues import water_cost
from engine.state import ICE, ORE, POWER, WATER_SPENT
from tests import streams
from tests.parity import Pair, Scene
from tests.rows import Rows, executed, fronts, legal_actions, sample
from wrappers.action import (
    BUILD_HEAVY,
    BUILD_LIGHT,
    DIG,
    MOVE,
    PICKUP,
    RECHARGE,
    SELF_DESTRUCT,
    TRANSFER,
    WAIT,
    WATER,
    ActionConfig,
    factory_number,
)

EVERYTHING = ActionConfig(
    pickup=("ice", "ore", "water", "metal", "power"), self_destruct=True, recharge=True, water_reserve=0, rubble_distance=64
)


def prepare_nothing(env: Any, rng: np.random.Generator) -> None:
    """The state as the opening leaves it."""


def prepare_busy(env: Any, rng: np.random.Generator) -> None:
    """Lichen, little rubble, factories with little water and with much, and robots of both sides among them."""
    streams.prepare_meadow(env, rng)
    streams.prepare_robots(env, rng, 25, area=30)
    for agent in PLAYERS:
        for factory in env.state.factories[agent].values():
            factory.cargo.metal = int(rng.choice([0, 100, 2000]))
            factory.power = int(rng.choice([0, 500, 20_000]))


def started(config: GameConfig, seed: int, rng: np.random.Generator, prepare: Any = prepare_nothing) -> Pair:
    """A pair of engines after the opening."""
    pair = Pair(config, seed, validate=False)
    while pair.game.real_step < 0:
        pair.step(streams.plain_opening(pair.env, rng))
    prepare(pair.env, rng)
    pair.reload()
    return pair


def check_turn(rows: Rows, action: np.ndarray, chosen: np.ndarray) -> None:
    """Play a turn; every row `i` with `chosen[i]` must have done what it chose, but for movers that give way to a friend."""
    pair, obs = rows.pair, rows.obs
    side, slot, ident = obs.side.copy(), obs.slot.copy(), obs.ident.copy()
    before = pair.game.copy()
    actions = rows.official(action)
    wanted = fronts(pair, actions)
    pair.step(actions)
    after = pair.game
    for i in np.flatnonzero(chosen):
        kind, player = int(action[i, 0]), int(side[i]) % 2
        row = f"row {i} {action[i].tolist()} of player {player}, slot {slot[i]}, turn {int(before.real_step)}"
        if slot[i] >= MAX_FACTORIES:
            front = wanted[f"unit_{ident[i]}"]
            if kind == WAIT:
                power = before.robot_power[player * MAX_ROBOTS + slot[i] - MAX_FACTORIES]
                assert front is None or power < 10, row
                continue
            if kind == MOVE and (front is None or front[:2] == [0, 0]):
                continue
            assert front is not None and front[0] == kind - 1 and front[1] == action[i, 1], f"{row}: queue {front}"
            if kind == RECHARGE:
                continue
            done = executed(pair, f"unit_{ident[i]}", front)
            assert done is not False, f"{row}: {front} was not executed"
            assert kind != SELF_DESTRUCT or done is None, row
            continue
        f = factory_number(before, player, slot[i])
        if kind in (BUILD_LIGHT, BUILD_HEAVY):
            r = after.robot_at[before.factory_cell[f]]
            assert r >= 0 and after.robot_id[r] >= before.next_id, f"{row}: nobody was born"
            assert after.robot_heavy[r] == kind - BUILD_LIGHT, row
        elif kind == WATER:
            cost = water_cost(int(after.factory_grow[f]), rows.rules)
            assert after.factory_event[f, WATER_SPENT] == cost, f"{row}: watering of {after.factory_grow[f]} tiles was refused"
    for player in range(2):  # only a side without factories fails
        owns = ((after.factory_alive == 1) & (after.factory_owner == player)).any()
        assert not after.failed[player] or not owns, f"player_{player} failed with factories left"


@pytest.mark.parametrize(
    ("size", "seed", "prepare", "turns"),
    [
        (48, 1, prepare_nothing, 160),
        (48, 2, prepare_busy, 60),
        (48, 3, streams.prepare_rich, 160),
        (64, 4, prepare_busy, 40),
        (64, 5, prepare_nothing, 140),
    ],
)
def test_what_masks_allow_together_is_executed(size: int, seed: int, prepare: Any, turns: int) -> None:
    rng = np.random.default_rng(seed)
    pair = started(GameConfig.for_map_size(size), seed, rng, prepare)
    rows = Rows(pair, EVERYTHING)
    kinds = np.zeros(10, int)
    for _ in range(turns):
        action = sample(rows.obs.mask, rng)
        kinds += np.bincount(action[:, 0], minlength=10)
        check_turn(rows, action, np.ones(len(action), bool))
        if pair.done:
            break
        rows.look()
    assert (kinds[[WAIT, MOVE, TRANSFER, PICKUP, DIG]] > 4).all(), f"too little happened: {kinds}"
    if prepare is prepare_busy:
        assert kinds[WATER] > 20 and kinds[SELF_DESTRUCT] > 0, f"too little happened: {kinds}"


@pytest.mark.parametrize("seed", [6, 7])
def test_what_masks_allow_alone_is_executed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pair = started(GameConfig.for_map_size(48), seed, rng, prepare_busy)
    rows = Rows(pair, EVERYTHING)
    for _ in range(5):
        rows.play(sample(rows.obs.mask, rng))
    state, game = copy.deepcopy(pair.env.state), pair.game.copy()
    tried = 0
    for i in rng.permutation(rows.obs.rows)[:40]:
        choices = legal_actions(int(rows.obs.mask[i]))
        for k in rng.permutation(len(choices))[:3]:
            pair.env.set_state(copy.deepcopy(state))
            pair.engine.games[0] = game
            rows.look()
            action = np.zeros((rows.obs.rows, 4), np.int64)
            action[i] = choices[k]
            check_turn(rows, action, np.arange(rows.obs.rows) == i)
            tried += 1
    assert tried > 60


@pytest.mark.parametrize("seed", range(8, 12))
def test_watering_is_paid_for_even_when_the_ground_opens_up(seed: int) -> None:
    """Factories with hardly enough water, lichen about to spread, and robots that dig rubble and die on lichen around them."""
    rng = np.random.default_rng(seed)
    pair = started(GameConfig.for_map_size(48), seed, rng, streams.prepare_meadow)
    board = pair.env.state.board
    rough = (rng.random(board.rubble.shape) < 0.3) & (board.lichen == 0) & (board.factory_occupancy_map == -1)
    board.rubble[rough] = rng.choice([1, 2, 20], rough.sum())
    streams.prepare_robots(pair.env, rng, 60, area=40)
    pair.reload()
    rows = Rows(pair, EVERYTHING)
    weights = np.array([1, 1, 1, 1, 20, 5, 1, 1, 1, 50], float)
    watered = 0
    for _ in range(12):
        for agent in PLAYERS:
            for factory in pair.env.state.factories[agent].values():
                fresh = int(np.ceil(len(factory.grow_lichen_positions) / 10))
                factory.cargo.water = fresh + int(rng.integers(0, 4))
                factory.cargo.ice = 100  # refined after watering: nobody dies of thirst
        pair.reload()
        rows.look()
        action = sample(rows.obs.mask, rng, weights)
        watered += int((action[:, 0] == WATER).sum())
        check_turn(rows, action, np.ones(len(action), bool))
        rows.look()
    assert watered > 5


def mask_of(rows: Rows, cell: tuple[int, int]) -> int:
    """The mask of the robot on this cell."""
    obs = rows.look()
    found = np.flatnonzero((obs.cell == cell[0] * SIZE + cell[1]) & (obs.kind > 0))
    assert len(found) == 1
    return int(obs.mask[found[0]])


def scene(*robots: tuple[int, str, tuple[int, int], dict[str, int]], **boards: dict[tuple[int, int], int]) -> Rows:
    world = Scene(GameConfig.for_map_size(48, min_factories=2, max_factories=2))
    for player, kind, cell, stock in robots:
        world.robot(player, kind, cell, **{"power": 100, **stock})
    for name, cells in boards.items():
        for cell, value in cells.items():
            getattr(world.env.state.board, name)[cell] = value
    world.reload()
    return Rows(world, EVERYTHING)


def play_with_water(rows: Rows, water: int) -> tuple[bool, np.ndarray]:
    """Give player 0's first factory so much water, water and dig and self-destruct where allowed; (offered, actions)."""
    factory = rows.pair.factory(0)  # type: ignore[attr-defined]
    factory.cargo.water, factory.cargo.ice = water, 100
    rows.pair.reload()
    obs = rows.look()
    offered = bool(obs.mask[0] >> WATER & 1)
    action = np.zeros((obs.rows, 4), np.int64)
    for kind in (DIG, SELF_DESTRUCT):
        action[(obs.mask >> kind & 1 == 1) & (action[:, 0] == WAIT), 0] = kind
    action[0, 0] = WATER if offered else WAIT
    check_turn(rows, action, np.ones(obs.rows, bool))
    return offered, action


def test_watering_counts_what_is_dug_free_in_the_same_turn() -> None:
    """Nine of the twelve tiles around the walls are free and cost 1; two robots, one a foe, clear two more, which costs 2."""
    for water, allowed in [(1, False), (2, True)]:
        rows = scene(
            (0, "light", (10, 8), {}),
            (1, "heavy", (12, 10), {}),
            rubble={(10, 8): 2, (12, 10): 20, (8, 10): 50},
        )
        offered, action = play_with_water(rows, water)
        assert offered == allowed and (action[:, 0] == DIG).sum() == 2
        assert rows.pair.game.factory_grow[0] == 11


def test_watering_counts_what_a_death_on_foreign_lichen_opens() -> None:
    """Ten tiles are free; a foe's end removes the foreign lichen that kept an eleventh from growing."""
    for water, allowed in [(1, False), (2, True)]:
        rows = scene((1, "light", (10, 7), {}), rubble={(8, 10): 50}, lichen={(10, 7): 10}, lichen_strains={(10, 7): 1})
        offered, action = play_with_water(rows, water)
        assert offered == allowed and (action[:, 0] == SELF_DESTRUCT).sum() == 1
        assert rows.pair.game.factory_grow[0] == 11


def test_a_robot_on_ice_may_dig_until_it_is_full() -> None:
    for stock, allowed in [({}, True), ({"ice": 99}, True), ({"ice": 100}, False), ({"power": 5}, False), ({"power": 6}, True)]:
        rows = scene((0, "light", (20, 20), stock), ice={(20, 20): 1})
        assert bool(mask_of(rows, (20, 20)) >> DIG & 1) == allowed, stock


def test_a_queue_that_goes_on_costs_nothing() -> None:
    from luxai_s2.actions import DigAction

    rows = scene((0, "light", (20, 20), {"power": 5}), ice={(20, 20): 1})
    unit = next(iter(rows.pair.env.state.units["player_0"].values()))
    unit.action_queue = [DigAction(n=50)]
    rows.pair.reload()
    assert mask_of(rows, (20, 20)) >> DIG & 1
    unit.power = 4
    rows.pair.reload()
    assert not mask_of(rows, (20, 20)) >> DIG & 1


def test_a_robot_beside_its_factory_may_hand_over_what_it_holds() -> None:
    rows = scene((0, "heavy", (12, 10), {"ice": 8}))
    choices = legal_actions(mask_of(rows, (12, 10)))
    assert [TRANSFER, 4, ICE, 0] in choices and [TRANSFER, 4, POWER, 0] in choices
    assert [TRANSFER, 4, ORE, 0] not in choices and [TRANSFER, 2, ICE, 0] not in choices


def test_a_robot_may_hand_over_to_a_friend_with_room_and_not_to_a_foe() -> None:
    rows = scene((0, "light", (20, 20), {"ice": 8}), (0, "light", (21, 20), {"ice": 100}), (1, "light", (20, 21), {}))
    choices = legal_actions(mask_of(rows, (20, 20)))
    assert [TRANSFER, 2, POWER, 0] in choices
    assert [TRANSFER, 2, ICE, 0] not in choices and [TRANSFER, 3, ICE, 0] not in choices


def test_power_is_picked_up_on_own_ground_and_only_there() -> None:
    rows = scene((0, "heavy", (11, 10), {}), (0, "heavy", (12, 20), {}), (0, "light", (9, 20), {"power": 150}))
    assert [PICKUP, 0, POWER, 0] in legal_actions(mask_of(rows, (11, 10)))
    assert not mask_of(rows, (12, 20)) >> PICKUP & 1
    assert [PICKUP, 0, POWER, 0] not in legal_actions(mask_of(rows, (9, 20))), "its battery is full"


@pytest.mark.parametrize(
    ("turn", "power", "stock", "queue", "offered"),
    [
        (10, 149, 100, False, False),  # by day it is full in any case
        (10, 148, 100, False, True),
        (40, 149, 100, False, True),
        (40, 150, 100, False, False),
        (40, 100, 1, False, False),  # the order costs what there is
        (40, 100, 2, False, True),
        (40, 100, 0, False, False),
        (40, 100, 1, True, True),  # it is ordered already
    ],
)
def test_a_pickup_brings_more_than_waiting(turn: int, power: int, stock: int, queue: bool, offered: bool) -> None:
    rows = scene((0, "light", (11, 10), {"power": power}))
    game = rows.pair.game
    game["real_step"] = turn
    game["factory_power"] = stock
    if queue:
        robot = game["robot_at"][11 * SIZE + 10]
        game["queue"][robot, 0, :3] = PICKUP - 1, 0, POWER
        game["queue_len"][robot] = 1
    assert ([PICKUP, 0, POWER, 0] in legal_actions(mask_of(rows, (11, 10)))) == offered


def test_watering_is_offered_where_something_grows() -> None:
    """All twelve tiles around the walls are stony; a robot might clear one, or might not."""
    around = [(10 + a, 10 + b) for a, b in [*((s, d) for s in (-1, 0, 1) for d in (-2, 2)), *((d, s) for s in (-1, 0, 1) for d in (-2, 2))]]
    for free, offered in (((), False), ((around[5],), True)):
        rows = scene((0, "heavy", around[0], {}), rubble={cell: 0 if cell in free else 10 for cell in around})
        assert play_with_water(rows, 50)[0] == offered


def test_moves_stop_at_edges_friends_foreign_walls_and_centres() -> None:
    rows = scene(
        (0, "light", (0, 0), {}),
        (0, "light", (11, 10), {}),
        (1, "light", (12, 10), {}),
        (0, "heavy", (32, 20), {}),
        (0, "light", (0, 1), {}),
    )
    moves = {cell: {c[1] for c in legal_actions(mask_of(rows, cell)) if c[0] == MOVE} for cell in [(0, 0), (11, 10), (12, 10), (32, 20)]}
    assert moves[(0, 0)] == {2}, "the map ends, and a friend stands below"
    assert moves[(11, 10)] == {1, 2, 3}, "not onto the centre; a foe is no obstacle"
    assert moves[(12, 10)] == {1, 2, 3}, "not into a foreign factory"
    assert moves[(32, 20)] == {1, 2, 3}


def test_moves_cost_the_rubble_and_the_new_queue() -> None:
    for power, allowed in [(20 + 10 + 30, True), (20 + 10 + 29, False)]:
        rows = scene((0, "heavy", (20, 20), {"power": power}), rubble={(20, 19): 30})
        assert ([MOVE, 1, 0, 0] in legal_actions(mask_of(rows, (20, 20)))) == allowed


def test_building_needs_a_free_centre_metal_and_power() -> None:
    rows = scene((0, "light", (10, 10), {}))
    obs = rows.look()
    masks = {(int(obs.side[i]), int(obs.slot[i])): int(obs.mask[i]) for i in range(obs.rows) if obs.kind[i] == 0}
    assert not masks[0, 0] >> BUILD_LIGHT & 1 and not masks[0, 0] >> BUILD_HEAVY & 1, "somebody stands there"
    assert masks[0, 1] >> BUILD_LIGHT & 1 and masks[0, 1] >> BUILD_HEAVY & 1
    factory = rows.pair.factory(1)  # type: ignore[attr-defined]
    factory.cargo.metal, factory.power = 100, 499
    rows.pair.reload()
    obs = rows.look()
    row = int(np.flatnonzero((obs.side == 1) & (obs.slot == 0))[0])
    assert obs.mask[row] >> BUILD_LIGHT & 1 and not obs.mask[row] >> BUILD_HEAVY & 1


def test_configs_narrow_what_is_offered() -> None:
    rng = np.random.default_rng(0)
    pair = started(GameConfig.for_map_size(48), 2, rng, prepare_busy)
    wide = Rows(pair, ActionConfig()).obs.mask.copy()
    narrow = Rows(pair, ActionConfig.survival()).obs
    assert (narrow.mask & ~wide == 0).all() and (narrow.mask != wide).any()
    for kind in (WATER, BUILD_LIGHT, SELF_DESTRUCT, RECHARGE):
        assert not (narrow.mask >> kind & 1).any()
    for i in range(narrow.rows):
        assert all(c[2] == ICE for c in legal_actions(int(narrow.mask[i])) if c[0] == TRANSFER)
    one = Rows(pair, ActionConfig(heavies_per_factory=0, lights=0)).obs
    assert not (one.mask >> BUILD_HEAVY & 1).any() and not (one.mask >> BUILD_LIGHT & 1).any()


@pytest.mark.parametrize(("water", "offered"), [(79, {"ice"}), (80, {"ice", "ore", "rubble"})])
def test_heavies_dig_ice_first_and_lights_what_is_theirs(water: int, offered: set[str]) -> None:
    cells = {"ice": (14, 10), "ore": (14, 12), "rubble": (12, 13)}
    boards = {name: {cell: 60 if name == "rubble" else 1} for name, cell in cells.items()}
    actions = dataclasses.replace(EVERYTHING, ice_first=80, light_dig=("rubble",))
    for kind in ("heavy", "light"):
        dug = set()
        for name, cell in cells.items():
            rows = scene((0, kind, cell, {"power": 140}), **boards)
            rows.pair.factory(0).cargo.water = water  # type: ignore[attr-defined]
            rows.pair.reload()
            rows.action_rules = actions.rules()
            if mask_of(rows, cell) >> DIG & 1:
                dug.add(name)
        assert dug == (offered if kind == "heavy" else {"rubble"}), kind


def test_a_config_with_unknown_words_is_refused() -> None:
    with pytest.raises(ValueError, match="pickup has 'gold'; accepted are ice, ore"):
        ActionConfig(pickup=("gold",))
    with pytest.raises(ValueError, match="water_reserve is -1"):
        ActionConfig(water_reserve=-1)
