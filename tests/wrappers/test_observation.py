"""Observations: the judge's JSON and the engine's record show the same, both sides see alike, numbers mean what they say."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.scripted.farmer.ground import clearing_prices
from engine.config import MAX_FACTORIES, MAX_ROBOTS, SIZE, GameConfig
from engine.official import PLAYERS, orders_to_actions
from engine.state import GAME_DTYPE, empty_orders
from tests import streams
from tests.parity import SCENE, Pair, Scene
from tests.rows import Rows, sample
from tests.wrappers.test_masks import EVERYTHING, prepare_busy, prepare_nothing, started
from wrappers.action import ActionConfig, write_all_orders, write_orders
from wrappers.features import FACTORY_NAMES, FACTORY_WIDTH, ROBOT_NAMES, ROBOT_WIDTH
from wrappers.judge import JudgeGame
from wrappers.observation import PLANE_NAMES, SCALAR_NAMES, Observation, empty_static, nearest_source, observe, observe_side, write_static
from wrappers.own_features import Seen
from wrappers.targets import WORK_REACH

ROOT = Path(__file__).parents[2]
FIELDS = ("feature", "slot", "kind", "cell", "ident", "home", "mask", "planes", "scalar")
FULL = ActionConfig().rules()


def jsonable(value: Any) -> Any:
    """What the official runner makes of an observation before it sends it."""
    if isinstance(value, dict):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


class Judge:
    """The messages that the official runner would send about an environment, taken in by a `JudgeGame`."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.game = JudgeGame(json.loads(json.dumps(jsonable(dataclasses.asdict(env.env_cfg)))))
        self.last = env.state.get_obs()
        self.send(env.state.get_compressed_obs() if env.state.env_steps == 0 else self.last)

    def send(self, message: Any) -> None:
        self.game.update(json.loads(json.dumps(jsonable(message))))

    def follow(self) -> None:
        """Send the next message of the game, which shows changes only."""
        message = self.env.state.get_change_obs(self.last)
        self.last = self.env.state.get_obs()
        self.send(message)


def view(game: Any, rules: Any, static: Any, player: int, obs: Observation) -> dict[str, np.ndarray]:
    observe_side(game, rules, FULL, static, player, obs)
    return {name: getattr(obs, name).copy() for name in FIELDS}


def stock_and_crowd(seen: Seen) -> np.ndarray:
    """A feature of one's own, from boards, factories and robots: how much the row's entity holds, and robots on the cells beside it."""
    held = np.zeros(len(seen.slot))
    for kind, (rows, game, number) in (("robot", seen.robots()), ("factory", seen.factories())):
        held[rows] = seen.games[f"{kind}_cargo"][game, number].sum(1) + seen.games[f"{kind}_power"][game, number]
    for step in (-64, -1, 1, 64):
        held += 0.5 * (seen.games["robot_at"][seen.side // 2, np.clip(seen.cell + step, 0, 64 * 64 - 1)] >= 0)
    return held


def check_views(pair: Pair, judge: Judge, static: np.recarray, rng: np.random.Generator, slots: bool) -> None:
    """Both sides' observations and the orders for random choices are the same from both records; so are slots if asked."""
    obs = Observation(1, own=(stock_and_crowd,))
    rules = pair.engine.rules
    theirs = judge.game
    for player, agent in enumerate(PLAYERS):
        wanted = view(pair.game, rules, static[0], player, obs)
        seen = view(theirs.game, theirs.rules, theirs.static, player, obs)
        action = sample(wanted["mask"], rng)
        matched = action.copy()
        if not slots:
            mine, other = (np.lexsort((one["ident"], one["kind"] > 0)) for one in (wanted, seen))
            matched[other] = action[mine]
            for name in ("feature", "kind", "cell", "ident", "home", "mask"):
                reordered = np.empty_like(wanted[name])
                reordered[other] = wanted[name][mine]
                wanted[name + "_matched"] = reordered
        for name in FIELDS:
            expected = wanted.get(name + "_matched", wanted[name])
            if (slots or name != "slot") and not np.array_equal(expected, seen[name]):
                where = np.argwhere(expected != seen[name])[:5].tolist() if expected.shape == seen[name].shape else "all: shapes"
                raise AssertionError(f"turn {pair.game.real_step}, {agent}: {name} differs at {where}")
        orders = empty_orders(1)[0]
        write_orders(pair.game, rules, player, wanted["slot"], action, orders)
        write_orders(theirs.game, theirs.rules, player, seen["slot"], matched, theirs.orders)
        expected = json.loads(json.dumps(jsonable(orders_to_actions(pair.game, orders, player))))
        assert json.loads(json.dumps(theirs.actions(player))) == expected
        assert (theirs.orders["queue_len"] == -1).all() and (theirs.orders["factory"] == -1).all()


def rows_stream(pair: Pair, rng: np.random.Generator) -> Any:
    rows = Rows(pair)
    return rows.official(sample(rows.obs.mask, rng))


def official_stream(stream: Any) -> Any:
    return lambda pair, rng: stream(pair.env, rng)


@pytest.mark.parametrize(
    ("size", "seed", "prepare", "stream", "slots", "turns"),
    [
        (48, 1, prepare_nothing, rows_stream, True, 180),
        (64, 2, prepare_nothing, official_stream(streams.economy), True, 150),
        (48, 3, streams.prepare_meadow, official_stream(streams.lichen_heavy), True, 120),
        # these build onto robots that wait, so that newborn robots die unseen
        (48, 4, streams.prepare_rich, official_stream(streams.random_play), False, 120),
        (48, 5, streams.prepare_rich, official_stream(streams.crowded), False, 120),
        (64, 6, prepare_busy, official_stream(streams.random_play), False, 120),
    ],
)
def test_the_judges_messages_show_what_the_engine_shows(size: int, seed: int, prepare: Any, stream: Any, slots: bool, turns: int) -> None:
    rng = np.random.default_rng(seed)
    pair = Pair(GameConfig.for_map_size(size), seed, validate=False)
    judge = Judge(pair.env)
    static = empty_static(1)
    while pair.game.real_step < 0:
        for name in ("real_step", "env_steps", "factories_to_place", "team_water", "team_metal", "spawnable", "rubble"):
            assert np.array_equal(judge.game.game[name], pair.game[name]), name
        pair.step(streams.plain_opening(pair.env, rng))
        if pair.game.real_step == 0:
            prepare(pair.env, rng)
            pair.reload()
        judge.follow()
    write_static(pair.game, pair.engine.rules, static[0])
    for _ in range(turns):
        check_views(pair, judge, static, rng, slots)
        pair.step(stream(pair, rng))
        if pair.done:
            break
        judge.follow()
    assert pair.game.real_step > 80


@pytest.mark.parametrize(
    ("lichen", "strain", "kind", "action", "water", "grow"),
    [
        (10, 1, "light", [4, 0, 0, 0, 0, 1], False, 12),  # its end takes the foreign lichen away, whose neighbour is free again
        (10, 1, "light", [3, 0, 0, 0, 0, 1], False, 11),  # dug out, its strain still counts in that turn
        (100, 1, "heavy", [3, 0, 0, 0, 0, 1], False, 11),
        (60, 1, "light", [3, 0, 0, 0, 0, 1], False, 11),
        (10, 1, "light", [0, 2, 0, 0, 0, 1], False, 11),
        (29, 0, "light", [3, 0, 0, 0, 0, 1], False, 12),  # 19 are left: too little to spread
        (30, 0, "light", [3, 0, 0, 0, 0, 1], False, 13),  # 20 are left
        (29, 0, "light", [3, 0, 0, 0, 0, 1], True, 12),
        (30, 0, "light", [3, 0, 0, 0, 0, 1], True, 13),
        (20, 0, "light", [0, 1, 0, 0, 0, 1], False, 13),
        (20, 0, "light", [0, 1, 0, 0, 0, 1], True, 13),
        (1, 0, "light", [0, 1, 0, 0, 0, 1], False, 12),
        (100, 0, "light", [0, 1, 0, 0, 0, 1], True, 13),
    ],
)
def test_growth_is_worked_out_from_what_the_judge_shows(
    lichen: int, strain: int, kind: str, action: list[int], water: bool, grow: int
) -> None:
    """A robot acts on lichen next to the walls (own, on a ring tile) or one tile off (foreign); the count is the engine's."""
    cell = (10, 8) if strain == 0 else (10, 7)
    world = Scene(SCENE)
    unit = world.robot(0, kind, cell, power=100)
    board = world.env.state.board
    board.lichen[cell], board.lichen_strains[cell] = lichen, strain
    world.reload()
    judge = Judge(world.env)
    orders: dict[str, Any] = {unit.unit_id: np.array([action])}
    if water:
        orders["factory_0"] = 2
    for turn in range(3):
        world.step({"player_0": orders if turn == 0 else {}, "player_1": {}})
        judge.follow()
        for name in ("factory_grow", "factory_connected", "lichen", "strain", "lichen_total", "factory_lichen"):
            assert np.array_equal(judge.game.game[name], world.game[name]), f"{name}, turn {turn}"
        if turn == 0:
            assert world.game.factory_grow[0] == grow


def swapped(game: Any) -> np.recarray:
    """The same game with the players exchanged."""
    games = np.zeros(1, GAME_DTYPE).view(np.recarray)
    games[0] = game
    mirror = games[0]
    for name in GAME_DTYPE.names or ():
        if name.startswith("robot_") and name not in ("robot_at", "robot_order") or name.startswith("queue"):
            if mirror[name].shape[0] == 2 * MAX_ROBOTS:
                mirror[name] = np.roll(mirror[name], MAX_ROBOTS, axis=0)
    for name in ("robot_count", "robot_slots", "lichen_total", "reward", "failed", "team_water", "team_metal"):
        mirror[name] = mirror[name][::-1].copy()

    def other(robots: np.ndarray) -> np.ndarray:
        return np.where(robots < 0, robots, (robots + MAX_ROBOTS) % (2 * MAX_ROBOTS))

    mirror["robot_at"] = other(mirror["robot_at"])
    mirror["robot_order"] = other(mirror["robot_order"][::-1])
    owners = mirror["factory_owner"]
    owners[: mirror["factory_count"]] = 1 - owners[: mirror["factory_count"]]
    return games


@pytest.mark.parametrize("prepare", [prepare_nothing, prepare_busy])
def test_exchanging_the_players_exchanges_what_they_see(prepare: Any) -> None:
    rng = np.random.default_rng(3)
    pair = started(GameConfig.for_map_size(48), 3, rng, prepare)
    rows = Rows(pair, EVERYTHING)
    mirror_obs, mirror_static = Observation(2), empty_static(1)
    write_static(swapped(pair.game)[0], rows.rules, mirror_static[0])
    for turn in range(25):
        if turn % 4 == 0:
            mirror = swapped(pair.game)
            observe(mirror, rows.rules, rows.action_rules, mirror_static, mirror_obs)
            obs = rows.obs
            for b in range(2):
                mine, theirs = obs.side == b, mirror_obs.side == 1 - b
                for name in FIELDS[:-2]:
                    assert np.array_equal(getattr(obs, name)[mine], getattr(mirror_obs, name)[theirs]), name
                assert np.array_equal(obs.planes[b], mirror_obs.planes[1 - b])
                assert np.array_equal(obs.scalar[b], mirror_obs.scalar[1 - b])
        rows.play(sample(rows.obs.mask, rng))


def test_one_side_alone_sees_what_it_sees_among_all() -> None:
    rng = np.random.default_rng(4)
    pair = started(GameConfig.for_map_size(64), 4, rng, prepare_busy)
    rows = Rows(pair)
    one = Observation(1)
    for player in range(2):
        observe_side(pair.game, rows.rules, rows.action_rules, rows.static[0], player, one)
        mine = rows.obs.side == player
        assert (one.side == 0).all() and one.rows == mine.sum() > 0
        for name in FIELDS[:-2]:
            assert np.array_equal(getattr(one, name), getattr(rows.obs, name)[mine]), name
        assert np.array_equal(one.planes[0], rows.obs.planes[player]) and np.array_equal(one.scalar[0], rows.obs.scalar[player])


def test_numbers_are_finite_and_small() -> None:
    rng = np.random.default_rng(5)
    for size, prepare in [(48, prepare_busy), (64, streams.prepare_rich)]:
        pair = started(GameConfig.for_map_size(size), 5, rng, prepare)
        rows = Rows(pair, EVERYTHING)
        for _ in range(30):
            obs = rows.obs
            assert np.isfinite(obs.feature).all() and np.abs(obs.feature).max() <= 2
            assert np.isfinite(obs.scalar).all() and np.abs(obs.scalar).max() <= 2
            assert np.isfinite(obs.planes).all() and obs.planes.min() >= 0 and obs.planes.max() <= 4
            assert (np.diff(obs.side * 4096 + obs.slot) > 0).all(), "rows are ordered by side, then slot"
            assert (obs.feature[obs.kind == 0][:, FACTORY_WIDTH:] == 0).all()
            rows.play(sample(obs.mask, rng))


def test_names_are_one_a_number() -> None:
    assert len(set(ROBOT_NAMES)) == ROBOT_WIDTH and len(set(FACTORY_NAMES)) == FACTORY_WIDTH
    assert len(set(SCALAR_NAMES)) == len(SCALAR_NAMES) and len(set(PLANE_NAMES)) == len(PLANE_NAMES)


def test_the_nearest_cell_is_the_nearest() -> None:
    rng = np.random.default_rng(6)
    for size, share in [(48, 0.01), (64, 0.002), (13, 0.2), (20, 0.0)]:
        source = np.zeros((SIZE, SIZE), np.uint8)
        source[:size, :size] = rng.random((size, size)) < share
        nearest, distance = np.full(SIZE * SIZE, -1, np.int16), np.zeros(SIZE * SIZE, np.int32)
        nearest_source(source.ravel(), size, nearest, distance)
        cells = np.argwhere(source)
        inside = nearest.reshape(SIZE, SIZE)[:size, :size].astype(int)
        if not len(cells):
            assert (inside == -1).all()
            continue
        x, y = np.mgrid[:size, :size]
        least = np.abs(np.stack([x, y], -1)[:, :, None] - cells).sum(-1).min(-1)
        assert source.ravel()[inside.ravel()].all()
        assert np.array_equal(np.abs(inside // SIZE - x) + np.abs(inside % SIZE - y), least)


def test_the_next_rubble_is_the_one_that_opens_most_soonest() -> None:
    """Of all cells by the prices of `farmer` (written apart from these, in numpy) and the steps to them, but where a friend stands."""
    rng = np.random.default_rng(8)
    pair = started(GameConfig.for_map_size(48), 3, rng, lambda env, rng: streams.prepare_robots(env, rng, 30, area=30))
    rows, game, found = Rows(pair, EVERYTHING), pair.game, 0
    reach = min(int(rows.action_rules.rubble_distance), WORK_REACH)

    def board(name: str) -> np.ndarray:
        return game[name].reshape(SIZE, SIZE)[:48, :48]

    soil = (board("ice") == 0) & (board("ore") == 0) & (board("factory_at") < 0)
    taken = board("robot_at")
    for i in np.flatnonzero(rows.obs.kind > 0):
        player, cell = int(rows.obs.side[i]) % 2, int(rows.obs.cell[i])
        x, y = np.mgrid[:48, :48] - np.array([cell // SIZE, cell % SIZE])[:, None, None]
        centre = divmod(int(game.factory_cell[game.robot_home[player * MAX_ROBOTS + int(rows.obs.slot[i]) - MAX_FACTORIES]]), SIZE)
        friend = (taken >= 0) & (taken // MAX_ROBOTS == player) & (abs(x) + abs(y) > 0)
        price = clearing_prices(board("rubble").astype(np.int64), soil, centre, reach) + 2 * (abs(x) + abs(y))
        price[friend] = np.inf
        seen = dict(zip(ROBOT_NAMES, rows.obs.feature[i].tolist()))
        if np.isinf(price.min()):
            assert seen["rubble_closeness"] == 0
            continue
        found += 1
        best = price == price.min()  # the first of several in the order of the flood, which is not that of the board
        assert ((x / 16 == seen["rubble_dx"]) & (y / 16 == seen["rubble_dy"]) & best).any()
        assert seen["rubble_closeness"] == pytest.approx(
            1 / (1 + (abs(x) + abs(y))[(x / 16 == seen["rubble_dx"]) & (y / 16 == seen["rubble_dy"])][0])
        )
    assert found > 10, found


def test_a_scene_reads_as_it_is() -> None:
    """Factories of player 0 at [10, 10] and [10, 20], of player 1 at [30, 10] and [30, 20]."""
    world = Scene(SCENE)
    world.robot(0, "heavy", (13, 10), power=1500, ice=500)
    world.robot(0, "light", (14, 11), power=10)
    world.robot(1, "light", (13, 12), power=150)
    board = world.env.state.board
    board.ice[13, 11] = board.ice[40, 40] = 1
    board.rubble[12, 9] = 60
    board.lichen[12, 10], board.lichen_strains[12, 10] = 30, 0
    board.lichen[15, 10], board.lichen_strains[15, 10] = 50, 1
    world.reload()
    obs = Rows(world, EVERYTHING).obs
    row = int(np.flatnonzero((obs.side == 0) & (obs.kind == 2))[0])
    seen = dict(zip(ROBOT_NAMES, obs.feature[row].tolist()))
    wanted = {
        "light": 0, "heavy": 1, "power": 0.5, "ice": 0.5, "ice_dx": 0, "ice_dy": 1 / 16, "ice_adjacent": 1, "ice_closeness": 0.5,
        "factory_dx": -2 / 16, "factory_dy": 0, "factory_distance": 2 / 32, "factory_side_x": -1, "enemy_factory_dx": 1.0,
        "home_is_nearest": 1, "foe_dx": 0, "foe_dy": 2 / 3, "foe_near": 0.5, "foe_weaker": 1, "friends_near": 1 / 8, "foes_near": 1 / 8,
        "crop_rubble[-1,-1]": 0.6, "crop_ice[0,1]": 1, "crop_own_factory[-2,0]": 1, "crop_own_factory[-1,0]": 0,
        "crop_friend[1,1]": 0.5, "crop_friend[0,0]": 0, "crop_enemy[0,2]": 0.5, "crop_lichen[-1,0]": 0.3, "crop_lichen[2,0]": -0.5,
        "rubble_dx": -1 / 16, "rubble_dy": -1 / 16, "rubble_distance": 2 / 32,
        "queue_empty": 1, "ore_closeness": 0, "ore_distance": 0, "may_move": 1, "may_dig": 0,
    }  # fmt: skip
    assert {name: seen[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    scalars = dict(zip(SCALAR_NAMES, obs.scalar[1].tolist()))
    wanted = {
        "own_factories": 0.2,
        "own_lights": np.log(2) / 4,
        "enemy_lights": np.log(2) / 4,
        "enemy_heavies": np.log(2) / 4,
        "own_heavies": 0,
    }
    assert {name: scalars[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    planes = dict(zip(PLANE_NAMES, obs.planes[1]))
    assert planes["enemy_heavy"][4, 3] == pytest.approx(1 / 3) and planes["enemy_heavy"].sum() == pytest.approx(1 / 3)
    assert planes["own_lichen"][5, 3] == pytest.approx(50 / 900) and planes["enemy_lichen"][4, 3] == pytest.approx(30 / 900)


INTERPRETED = """
import sys
import numpy as np
from engine.config import GameConfig
from engine.state import GAME_DTYPE, empty_orders
from wrappers.action import ActionConfig, write_all_orders
from wrappers.observation import Observation, empty_static, observe, observe_side, write_static
from wrappers.own_features import Seen
assert not hasattr(write_static, "py_func"), "this must run interpreted"
data = np.load(sys.argv[1])
games = data["games"].view(GAME_DTYPE).view(np.recarray).reshape(-1)
rules, action_rules = GameConfig.for_map_size(48).rules(), ActionConfig(water_reserve=0).rules()
static, obs, orders = empty_static(len(games)), Observation(2 * len(games)), empty_orders(len(games))
for i in range(len(games)):
    write_static(games[i], rules, static[i])
observe(games, rules, action_rules, static, obs)
write_all_orders(games, rules, obs.side, obs.slot, data["action"], obs.rows, orders)
names = ("feature", "side", "slot", "kind", "cell", "ident", "home", "mask", "planes", "scalar")
one = Observation(1)
for b in range(2 * len(games)):
    observe_side(games[b // 2], rules, action_rules, static[b // 2], b % 2, one)
    mine = obs.side == b
    for name in names:
        expected = getattr(obs, name)[b : b + 1] if name in ("planes", "scalar") else getattr(obs, name)[mine]
        assert name == "side" or np.array_equal(getattr(one, name), expected), name
written = {name: orders[name] for name in ("queue_len", "queue", "factory")}
np.savez(sys.argv[2], **written, **{name: getattr(obs, name) for name in names})
"""


def test_interpreted_code_gives_what_compiled_code_gives(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    pair = started(GameConfig.for_map_size(48), 7, rng, prepare_busy)
    rows = Rows(pair, ActionConfig(water_reserve=0))
    for _ in range(8):
        rows.play(sample(rows.obs.mask, rng))
    write_static(pair.game, rows.rules, rows.static[0])  # as the interpreted code has to make it
    obs = rows.look()
    action = sample(obs.mask, rng)
    orders = empty_orders(1)
    write_all_orders(pair.engine.games, rows.rules, obs.side, obs.slot, action, obs.rows, orders)
    np.savez(tmp_path / "in.npz", games=pair.engine.games.view(np.ndarray).view(np.uint8), action=action)
    command = [sys.executable, "-W", "error", "-c", INTERPRETED, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)})
    seen = np.load(tmp_path / "out.npz")
    for name in (*FIELDS, "side"):
        wanted = getattr(obs, name)
        if wanted.dtype == np.float32:
            np.testing.assert_allclose(seen[name], wanted, rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert np.array_equal(seen[name], wanted), name
    for name in ("queue_len", "queue", "factory"):
        assert np.array_equal(seen[name], orders[name]), name


def test_wrong_sizes_are_refused() -> None:
    world = Scene(SCENE)
    rows = Rows(world)
    with pytest.raises(ValueError, match="room for 4 sides; 1 games have 2"):
        observe(world.engine.games, rows.rules, rows.action_rules, rows.static, Observation(4))
    with pytest.raises(ValueError, match="needs an observation of 1"):
        observe_side(world.game, rows.rules, rows.action_rules, rows.static[0], 0, Observation(2))


def test_a_match_that_is_joined_late_says_what_is_missing() -> None:
    world = Scene(SCENE)
    game = JudgeGame(jsonable(dataclasses.asdict(world.env.env_cfg)))
    with pytest.raises(ValueError, match="The first observation shows changes of rubble only"):
        game.update(jsonable(world.env.state.get_change_obs(world.env.state.get_obs())))
