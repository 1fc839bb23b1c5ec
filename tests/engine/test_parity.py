"""The engine equals the official one: streams of actions played on both, compared after every turn, 0 differences."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.config import GameConfig, RobotConfig
from engine.engine import Engine
from engine.maps import MapPool
from engine.official import MISSING, PLAYERS, actions_to_orders, compare, make_official, orders_to_actions
from engine.state import GAME_DTYPE, empty_orders
from tests import streams
from tests.parity import Pair

SMALL = GameConfig.for_map_size(48)
LARGE = GameConfig.for_map_size(64)
# every number of the rules differs from its default
ALTERED = GameConfig(
    map_size=48,
    min_factories=1,
    max_factories=7,
    max_episode_length=90,
    max_transfer_amount=1500,
    cycle_length=20,
    day_length=7,
    unit_action_queue_size=6,
    max_rubble=80,
    factory_rubble_after_destruction=70,
    init_water_metal_per_factory=220,
    init_power_per_factory=1500,
    min_lichen_to_spread=7,
    max_lichen_per_tile=60,
    power_per_connected_lichen_tile=2,
    lichen_watering_cost_factor=7,
    factory_processing_rate_water=60,
    ice_water_ratio=3,
    factory_processing_rate_metal=33,
    ore_metal_ratio=4,
    factory_charge=35,
    factory_water_consumption=2,
    power_loss_factor=0.7,
    light=RobotConfig(7, 40, 80, 130, 2, 45, 2, 0.13, 4, 3, 5, 7, 11, 2, 2),
    heavy=RobotConfig(90, 400, 700, 2500, 7, 450, 15, 0.7, 45, 15, 17, 70, 80, 13, 9),
)


def _random(env: Any, rng: np.random.Generator) -> None:
    streams.prepare_rich(env, rng)
    streams.prepare_robots(env, rng, 25)


def _crowded(env: Any, rng: np.random.Generator) -> None:
    streams.prepare_rich(env, rng)
    streams.prepare_robots(env, rng, 60, area=14)


def _lichen(env: Any, rng: np.random.Generator) -> None:
    streams.prepare_meadow(env, rng)
    streams.prepare_robots(env, rng, 8)


def _invalid(env: Any, rng: np.random.Generator) -> None:
    streams.prepare_robots(env, rng, 30)


KINDS: dict[str, tuple[Callable[..., Any], Callable[..., None] | None]] = {
    "random": (streams.random_play, _random),
    "crowded": (streams.crowded, _crowded),
    "lichen": (streams.lichen_heavy, _lichen),
    "invalid": (streams.invalid, _invalid),
    "economy": (streams.economy, None),
}
CONFIGS = {"48": SMALL, "64": LARGE, "altered": ALTERED}


def started(config: GameConfig, seed: int, kind: str, rng: np.random.Generator, validate: bool = False) -> Pair:
    """Both engines after an opening, with the state prepared for this kind of stream."""
    pair = Pair(config, seed, validate)
    while pair.game.real_step < 0:
        pair.step((streams.plain_opening if kind == "economy" else streams.opening)(pair.env, rng))
    prepare = KINDS[kind][1]
    if prepare is not None:
        prepare(pair.env, rng)
        pair.reload()
    return pair


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", CONFIGS)
def test_streams(kind: str, size: str):
    rng = np.random.default_rng([len(kind), len(size)])
    pair = started(CONFIGS[size], 100 + len(kind), kind, rng)
    played = pair.play(KINDS[kind][0], rng, 180)
    assert played >= 60, f"the game ended after {played} turns; the stream is meant to last"


def test_a_stream_with_the_official_validation():
    rng = np.random.default_rng(5)
    pair = started(SMALL, 5, "random", rng, validate=True)
    assert pair.play(streams.random_play, rng, 60) == 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "economy"])
@pytest.mark.parametrize("size", CONFIGS)
def test_long_streams(kind: str, size: str, seed: int):
    rng = np.random.default_rng([seed, len(kind), len(size)])
    pair = started(CONFIGS[size], 1000 + seed, kind, rng)
    played = pair.play(KINDS[kind][0], rng, 300)
    assert played >= 60, f"the game ended after {played} turns; the stream is meant to last"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", ["48", "64"])
def test_whole_games(size: str, seed: int):
    rng = np.random.default_rng(seed)
    pair = Pair(CONFIGS[size], seed, validate=False)
    while pair.game.real_step < 0:
        pair.step(streams.plain_opening(pair.env, rng))
    for agent in PLAYERS:  # so that everybody lives to the end
        for factory in streams.factories_of(pair.env, agent):
            factory.cargo.water += 1500
    pair.reload()
    assert pair.play(streams.economy, rng, 1001) == 1000
    assert pair.done and pair.game.real_step == 1000 and not pair.game.failed.any()


# ----------------------------------------------------------------------------------------------------------- maps, opening


@pytest.mark.parametrize("size", CONFIGS)
def test_reset_from_the_pool_is_the_official_reset(size: str, tmp_path):
    config, seeds = CONFIGS[size], [3, 4, 2**31 + 5]
    pool = MapPool(config, seeds, cache_dir=tmp_path, processes=1)
    engine = Engine(config, len(seeds))
    for i, seed in enumerate(seeds):
        engine.reset(i, pool, i)
        env = make_official(config, seed)
        assert compare(engine.games[i], env) == []
        pair = Pair(config, seed)
        for name in GAME_DTYPE.names or ():
            if not name.startswith(("team_", "factories_to_place", "factory_owner", "factory_slot")):
                assert np.array_equal(engine.games[i][name], pair.game[name]), name


@pytest.mark.parametrize("seed", range(25))
def test_openings(seed: int):
    rng = np.random.default_rng(seed)
    pair = Pair(ALTERED if seed % 2 else SMALL, seed)
    while pair.game.real_step < 0:
        pair.step(streams.opening(pair.env, rng))
    pair.step({agent: {} for agent in PLAYERS})
    assert not pair.done


@pytest.mark.parametrize("bids", [(0, 0), (5, 5), (-5, 5), (5, -5), (-5, -5), (-7, 5), (5, -7), (9, 10), (0, 1), (10.9, 10)])
def test_bids(bids: tuple[float, float]):
    pair = Pair(SMALL, 1)
    pair.step({agent: {"faction": "TheBuilders", "bid": bid} for agent, bid in zip(PLAYERS, bids)})
    first = 0 if abs(int(bids[0])) >= abs(int(bids[1])) else 1
    winner = first if bids[first] >= 0 else 1 - first
    assert pair.game.place_first.tolist() == [winner == 0, winner == 1]
    stock = 150 * int(pair.game.factories_per_team)
    assert pair.game.team_water[first] == stock - abs(int(bids[first])) and pair.game.team_water[1 - first] == stock


BAD_BIDS: dict[str, Any] = {
    "None": None,
    "empty": {},
    "no bid": {"faction": "AlphaStrike"},
    "no faction": {"bid": 3},
    "unknown faction": {"faction": "Null", "bid": 3},
    "too high": {"faction": "AlphaStrike", "bid": 100_000},
    "too low": {"faction": "AlphaStrike", "bid": -100_000},
    "beyond 32 bits": {"faction": "AlphaStrike", "bid": 10**12},
    "text": {"faction": "AlphaStrike", "bid": "10"},
    "not a number": {"faction": "AlphaStrike", "bid": float("nan")},
    "a list": ["faction", "bid"],
    "a number": 7,
}


@pytest.mark.parametrize("name", BAD_BIDS)
@pytest.mark.parametrize("player", [0, 1])
def test_bad_bids_lose(name: str, player: int, capsys):
    pair = Pair(SMALL, 1)
    pair.step({PLAYERS[player]: BAD_BIDS[name], PLAYERS[1 - player]: {"faction": "AlphaStrike", "bid": 3}})
    assert pair.done and pair.game.failed.tolist() == [player == 0, player == 1]


def test_two_bad_bids_lose_twice():
    pair = Pair(SMALL, 1)
    pair.step(dict.fromkeys(PLAYERS))
    assert pair.done and pair.game.reward.tolist() == [-1000, -1000]


def test_a_missing_bid_loses():
    game = Pair(SMALL, 1).game
    orders = empty_orders(1)[0]
    actions_to_orders(MISSING, game, SMALL.rules(), 1, orders)
    assert orders.lost.tolist() == [0, 1]


# what happens with a placement: it is a factory ("placed"), a wasted turn ("passed"), or the end ("lost")
PLACEMENTS: dict[str, tuple[Any, str]] = {
    "plain": ({"water": 100, "metal": 100}, "placed"),
    "floats": ({"water": 10.9, "metal": 0.0}, "placed"),
    "more than there is": ({"water": 100_000, "metal": 100_000}, "placed"),
    "nothing": ({"water": 0, "metal": 0}, "placed"),
    "negative water": ({"water": -1, "metal": 5}, "passed"),
    "negative metal": ({"water": 5, "metal": -0.5}, "passed"),
    "empty": ({"only": True}, "passed"),
    "in the corner": ({"spawn": (0, 0), "water": 5, "metal": 5}, "passed"),
    "off the map": ({"spawn": (48, 5), "water": 5, "metal": 5}, "lost"),
    "far off the map": ({"spawn": (5, -49), "water": 5, "metal": 5}, "lost"),
    "float cell": ({"spawn": (5.0, 5.0), "water": 5, "metal": 5}, "lost"),
    "one coordinate": ({"spawn": (5,), "water": 5, "metal": 5}, "lost"),
    "no coordinates": ({"spawn": None, "water": 5, "metal": 5}, "lost"),
    "text": ({"water": "5", "metal": 5}, "lost"),
    "no water": ({"water": None, "metal": 5}, "lost"),
}


@pytest.mark.parametrize("name", PLACEMENTS)
def test_placements(name: str, capsys):
    pair = Pair(SMALL, 2)
    pair.step({agent: {"faction": "AlphaStrike", "bid": 0} for agent in PLAYERS})
    values, outcome = PLACEMENTS[name]
    spot = np.argwhere(pair.env.state.board.valid_spawns_mask)[40]
    action = {} if "only" in values else {"spawn": spot, **values}
    other = {"spawn": spot, "water": 5, "metal": 5}  # out of turn: ignored
    pair.step({"player_0": action, "player_1": other})
    assert int(pair.game.factory_count) == (outcome == "placed")
    assert bool(pair.game.failed[0]) == (outcome == "lost") and not pair.game.failed[1]


@pytest.mark.parametrize("player", [0, 1])
def test_none_loses_in_the_opening_even_out_of_turn(player: int):
    pair = Pair(SMALL, 2)
    pair.step({agent: {"faction": "AlphaStrike", "bid": 0} for agent in PLAYERS})
    pair.step({PLAYERS[player]: None, PLAYERS[1 - player]: {}})
    assert pair.done and pair.game.failed.tolist() == [player == 0, player == 1]


def test_without_a_factory_the_first_turn_is_the_last():
    pair = Pair(SMALL, 2)
    pair.step({agent: {"faction": "AlphaStrike", "bid": 0} for agent in PLAYERS})
    while pair.game.real_step < 0:
        placed = streams.plain_opening(pair.env, np.random.default_rng(0))
        pair.step({"player_1": placed["player_1"]})
    pair.step({agent: {} for agent in PLAYERS})
    assert pair.done and pair.game.failed.tolist() == [1, 0]


# -------------------------------------------------------------------------------------------------------------- malformed


def _mid_game(player: int) -> tuple[Pair, Any, Any, dict[str, Any]]:
    """A validated game after ten turns, a robot and a factory of `player`, and sensible actions of both sides."""
    rng = np.random.default_rng(player)
    pair = started(SMALL, 7, "random", rng, validate=True)
    pair.play(streams.random_play, rng, 10)
    for unit in pair.env.state.units[PLAYERS[player]].values():
        unit.power = max(unit.power, 50)
    pair.reload()
    units = list(pair.env.state.units[PLAYERS[player]].values())
    factory = next(iter(pair.env.state.factories[PLAYERS[player]].values()))
    return pair, units[len(units) // 2], factory, streams.random_play(pair.env, rng)


@pytest.mark.parametrize("name", streams.MALFORMED_QUEUES)
def test_malformed_queues_lose(name: str, capsys):
    player = len(name) % 2
    pair, unit, _, actions = _mid_game(player)
    actions[PLAYERS[player]].pop(unit.unit_id, None)
    mine = list(actions[PLAYERS[player]].items())
    # orders before it are stored, those after it are if it could be formatted
    mine.insert(len(mine) // 2, (unit.unit_id, streams.MALFORMED_QUEUES[name]))
    actions[PLAYERS[player]] = dict(mine)
    pair.step(actions)
    assert pair.done and pair.game.failed.tolist() == [player == 0, player == 1]


@pytest.mark.parametrize("name", streams.ACCEPTED_QUEUES)
def test_accepted_queues(name: str):
    pair, unit, _, actions = _mid_game(0)
    actions["player_0"][unit.unit_id] = streams.ACCEPTED_QUEUES[name]
    pair.step(actions)
    assert not pair.done


@pytest.mark.parametrize("name", streams.MALFORMED_FACTORY)
def test_malformed_factory_actions_lose(name: str, capsys):
    pair, _, factory, actions = _mid_game(1)
    actions["player_1"] = {factory.unit_id: streams.MALFORMED_FACTORY[name], **actions["player_1"]}
    actions["player_1"][factory.unit_id] = streams.MALFORMED_FACTORY[name]
    pair.step(actions)
    assert pair.done and pair.game.failed.tolist() == [0, 1]


@pytest.mark.parametrize("name", streams.ACCEPTED_FACTORY)
def test_accepted_factory_actions(name: str):
    pair, _, factory, actions = _mid_game(1)
    actions["player_1"][factory.unit_id] = streams.ACCEPTED_FACTORY[name]
    pair.step(actions)
    assert not pair.done


@pytest.mark.parametrize("key", ["unit_99999", "factory_99", "tractor", "enemy robot", "enemy factory", 5])
def test_unknown_keys_lose(key: Any, capsys):
    pair, unit, factory, actions = _mid_game(0)
    key = {"enemy robot": unit.unit_id, "enemy factory": factory.unit_id}.get(key, key)
    mine = list(actions["player_1"].items())
    mine.insert(2, (key, 2 if "factory" in str(key) else streams.GOOD))
    actions["player_1"] = dict(mine)
    pair.step(actions)
    assert pair.done and pair.game.failed.tolist() == [0, 1]


@pytest.mark.parametrize("whole", [None, [], "junk", 3])
def test_actions_that_are_no_dict_lose(whole: Any, capsys):
    pair, _, _, actions = _mid_game(0)
    pair.step({**actions, "player_0": whole})
    assert pair.done and pair.game.failed.tolist() == [1, 0]


def _junk(rng: np.random.Generator) -> Any:
    """A queue of any shape, type and values, about half of them well-formed."""
    length, width = int(rng.choice([0, 1, 2, 20, 21], p=[0.1, 0.4, 0.3, 0.1, 0.1])), int(rng.choice([6, 6, 6, 6, 6, 5, 7]))
    low, high = np.array([0, 0, 0, 0, 0, 1, 0])[:width], np.array([5, 4, 4, 3001, 9999, 9999, 5])[:width]
    queue = rng.integers(low, high + 1, (length, width))
    if queue.size and rng.random() < 0.3:  # just beyond a bound
        row, column = int(rng.integers(length)), int(rng.integers(width))
        queue[row, column] = high[column] + 1 if rng.random() < 0.5 else low[column] - 1
    shape = rng.random()
    if shape < 0.25:
        return queue.astype(str(rng.choice(["int16", "int32", "uint16", "uint64", "float32", "float64"])))
    if shape < 0.35:
        return [queue[k].astype(str(rng.choice(["int64", "int32", "float64"]))) for k in range(length)]
    if shape < 0.45:
        return [[float(v) + 0.5 for v in row] for row in queue]
    if shape < 0.55:
        return queue.tolist()
    if shape < 0.6:
        return queue[:, None] if shape < 0.57 else queue.ravel()
    return queue


def test_junk_is_judged_as_the_official_engine_judges_it(capsys):
    """Any queue at all: lost or not, and what is stored, are the same on both."""
    pair, _, _, _ = _mid_game(0)
    rng = np.random.default_rng(0)
    first, game = copy.deepcopy(pair.env.state), pair.engine.games.copy()
    lost = 0
    for _ in range(200):
        pair.env.set_state(copy.deepcopy(first))
        pair.env.agents = list(PLAYERS)
        pair.engine.games[:] = game
        units = list(pair.env.state.units["player_0"])
        pair.step({"player_0": {units[k]: _junk(rng) for k in rng.permutation(len(units))[:3]}, "player_1": {}})
        lost += int(pair.game.failed[0])
    assert 40 < lost < 180


def test_both_sides_malformed():
    pair, _, _, actions = _mid_game(0)
    pair.step({"player_0": {"tractor": 1}, "player_1": {"tractor": 1}})
    assert pair.done and pair.game.reward.tolist() == [-1000, -1000]


def test_a_missing_player_does_nothing():
    pair, _, _, actions = _mid_game(0)
    pair.step({"player_1": actions["player_1"]})
    assert not pair.done


# -------------------------------------------------------------------------------------------------------- the bridge itself


@pytest.mark.parametrize("kind", ["random", "invalid"])
def test_orders_to_actions_is_the_inverse(kind: str):
    """Actions to orders to actions to orders gives the same orders, and the official engine takes them alike."""
    rng = np.random.default_rng(3)
    pair, twin = started(SMALL, 9, kind, rng), started(SMALL, 9, kind, np.random.default_rng(3))
    rules = pair.engine.rules
    for _ in range(40):
        if pair.done:
            break
        actions = KINDS[kind][0](pair.env, rng)
        orders, again = empty_orders(2)
        back: dict[str, Any] = {}
        for player, agent in enumerate(PLAYERS):
            actions_to_orders(actions[agent], pair.game, rules, player, orders)
            back[agent] = orders_to_actions(pair.game, orders, player)
            actions_to_orders(back[agent], pair.game, rules, player, again)
        assert orders.tobytes() == again.tobytes()
        pair.step(actions)
        twin.step(back)
        assert compare(pair.game, twin.env) == []


def test_orders_to_actions_in_the_opening():
    pair = Pair(SMALL, 4)
    rng = np.random.default_rng(4)
    while pair.game.real_step < 0:
        orders = empty_orders(1)[0]
        actions = streams.opening(pair.env, rng)
        for player, agent in enumerate(PLAYERS):
            actions_to_orders(actions.get(agent, {}), pair.game, pair.engine.rules, player, orders)
        pair.step({agent: orders_to_actions(pair.game, orders, player) for player, agent in enumerate(PLAYERS)})
    assert pair.game.factory_count > 0


def test_compare_sees_every_field():
    """A change to anything that `compare` promises to look at is found."""
    rng = np.random.default_rng(1)
    pair = started(SMALL, 3, "random", rng)
    pair.play(streams.random_play, rng, 12)
    r = int(pair.game.robot_order[0, 0])
    f = int(np.flatnonzero(pair.game.factory_alive)[0])
    cell = 20 * 64 + 20
    fields: list[tuple[str, tuple[int, ...]]] = [
        (name, (cell,)) for name in ("rubble", "ice", "ore", "lichen", "strain", "factory_at", "spawnable")
    ]
    fields += [(name, (r,)) for name in ("robot_id", "robot_cell", "robot_power", "robot_heavy", "robot_alive", "queue_len")]
    fields += [("robot_cargo", (r, 2)), ("factory_cargo", (f, 3)), ("robot_at", (int(pair.game.robot_cell[r]),))]
    fields += [(name, (f,)) for name in ("factory_power", "factory_cell", "factory_grow", "factory_connected", "factory_owner")]
    fields += [(name, (1,)) for name in ("team_water", "team_metal", "factories_to_place", "bid", "place_first", "lichen_total")]
    fields += [(name, ()) for name in ("env_steps", "real_step", "next_id", "done")]
    queued = next(int(q) for q in pair.game.robot_order[0, : pair.game.robot_count[0]] if pair.game.queue_len[q])
    fields.append(("queue", (queued, 0, 5)))
    for name, index in fields:
        pair.reload()
        if name == "robot_alive":
            pair.game[name][index] = 0
        elif index:
            pair.game[name][index] += 1
        else:
            pair.game[name] += 1
        found = compare(pair.game, pair.env)
        assert found, f"{name} changed unseen"
