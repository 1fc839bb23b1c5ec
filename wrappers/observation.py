"""What a side sees: the rows, features, masks, planes and scalars of `Observation`, written from game records.

Everything is seen from the row's own side (own / enemy, never player 0 / 1), in numbers of about [-1, 1] or [0, 2].
`ROBOT_NAMES`, `FACTORY_NAMES` (in `wrappers.features`), `SCALAR_NAMES` and `PLANE_NAMES` say what each number is.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, Sequence

import numpy as np

from engine.config import CELLS, MAX_FACTORIES, MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import FACTORIES, ICE, METAL, ORE, WATER
from wrappers.features import (
    ROBOT_WIDTH,
    list_factories,
    log_scale,
    write_factory,
    write_robot,
)
from wrappers.masks import count_robots, factory_mask, robot_mask
from wrappers.own_features import Feature, Seen, write_own
from wrappers.routes import NEAREST, list_nearest, write_enter_costs, write_home_prices
from wrappers.targets import MAX_WORK, list_rubble

GRID = 16  # planes are GRID x GRID whatever the map size, unless asked for finer
_STOCKS = ("water", "metal", "ice", "ore", "power", "robot_power", "cargo_ice", "cargo_ore")
SCALAR_NAMES = (
    ["turn", "turns_left", "last_turns", "day", "day_sin", "day_cos", "to_switch", "map_size", "factories_per_team"]
    + ["own_factories", "own_lights", "own_heavies", *("own_" + name for name in _STOCKS)]
    + ["own_lichen", "own_least_water", "own_least_water_lasts"]
    + ["enemy_factories", "enemy_lights", "enemy_heavies", *("enemy_" + name for name in _STOCKS)]
    + ["enemy_lichen", "enemy_least_water", "enemy_least_water_lasts"]
)
# of each pair the own side's plane comes first; `mirror_planes` relies on the order
_PAIRS = ("lichen", "factory", "light", "heavy")
PLANE_NAMES = ["rubble", "ice", "ore", "off_map", *(f"{side}_{name}" for name in _PAIRS for side in ("own", "enemy"))]
PLANES, SCALARS = len(PLANE_NAMES), len(SCALAR_NAMES)

# maps of a game made once its factories stand: from every cell the nearest cell of ice and of ore, or -1; for each factory what the way
# home costs from every cell, and the cells of ice and of ore nearest to it (`wrappers.routes`)
STATIC_DTYPE = np.dtype(
    [
        ("ice_cell", np.int16, (CELLS,)),
        ("ore_cell", np.int16, (CELLS,)),
        ("home_price", np.int16, (FACTORIES, CELLS)),
        ("ice_near", np.int16, (FACTORIES, NEAREST)),
        ("ore_near", np.int16, (FACTORIES, NEAREST)),
    ],
    align=True,
)


_ROW_FIELDS = (
    ("side", np.int32),
    ("slot", np.int16),
    ("kind", np.int8),
    ("cell", np.int16),
    ("ident", np.int32),
    ("home", np.int16),
    ("mask", np.int64),
)


class Observation:
    """Buffers that `observe` writes: one row a living entity, ordered by side and slot. Valid until the next write.

    Attributes, for M rows of B sides (side `b = 2 * game + player`):
        rows: M.
        map_size: W of the board, which tells the plane cell that a board cell lies in.
        feature: [M, ROBOT_WIDTH + K + columns] float32; a factory uses the first `FACTORY_WIDTH`, the rest is zero. Then come the K
            features of a user's own (`own`, of `wrappers.own_features`), and `columns` that are zero until somebody fills them in
            (`wrappers.advice`).
        side [M] int32, slot [M] int16, kind [M] int8 (0 factory, 1 light, 2 heavy), cell [M] int16,
        ident [M] int32 (creation number), home [M] int16 (slot of the home factory), mask [M] int64.
        first: [B + 1] int64, the rows of side b are `first[b] .. first[b + 1] - 1`.
        planes: [B, PLANES, P, P] float32, the map in blocks; P is the `grid` asked for (the map size gives full resolution).
        scalar: [B, SCALARS] float32.
    """

    feature: np.ndarray
    side: np.ndarray
    slot: np.ndarray
    kind: np.ndarray
    cell: np.ndarray
    ident: np.ndarray
    home: np.ndarray
    mask: np.ndarray

    def __init__(self, sides: int, grid: int = GRID, columns: int = 0, own: Sequence[Feature] = ()) -> None:
        self.rows = 0
        self.own = own
        self.columns = len(own) + columns
        self.map_size = SIZE
        self.first = np.zeros(sides + 1, np.int64)
        self.planes = np.zeros((sides, PLANES, grid, grid), np.float32)
        self.scalar = np.zeros((sides, SCALARS), np.float32)
        self._buffers: dict[str, np.ndarray] = {}
        self.resize(0)

    @property
    def sides(self) -> int:
        return len(self.scalar)

    def resize(self, rows: int) -> None:
        """Make the row fields `rows` long; buffers only grow, and grow by more than asked."""
        if not self._buffers or rows > len(self._buffers["side"]):
            space = max(rows * 3 // 2, 64)
            self._buffers = {name: np.zeros(space, kind) for name, kind in _ROW_FIELDS}
            self._buffers["feature"] = np.zeros((space, ROBOT_WIDTH + self.columns), np.float32)
        self.rows = rows
        for name, buffer in self._buffers.items():
            setattr(self, name, buffer[:rows])


def empty_static(count: int) -> np.recarray:
    """`count` records of `STATIC_DTYPE`."""
    return np.zeros(count, STATIC_DTYPE).view(np.recarray)


@jit
def nearest_source(source, size, nearest, distance):
    """Fill `nearest [CELLS]` with the nearest cell (by steps) where `source` is set, or -1; `distance [CELLS]` is scratch.

    Two sweeps are exact for this distance on an open board.
    """
    far = 4 * SIZE
    for x in range(size):
        for cell in range(x * SIZE, x * SIZE + size):
            if source[cell]:
                distance[cell] = 0
                nearest[cell] = cell
                continue
            least = far
            best = -1
            if x > 0 and distance[cell - SIZE] + 1 < least:
                least = distance[cell - SIZE] + 1
                best = nearest[cell - SIZE]
            if cell > x * SIZE and distance[cell - 1] + 1 < least:
                least = distance[cell - 1] + 1
                best = nearest[cell - 1]
            distance[cell] = least
            nearest[cell] = best
    for x in range(size - 1, -1, -1):
        for cell in range(x * SIZE + size - 1, x * SIZE - 1, -1):
            if x < size - 1 and distance[cell + SIZE] + 1 < distance[cell]:
                distance[cell] = distance[cell + SIZE] + 1
                nearest[cell] = nearest[cell + SIZE]
            if cell < x * SIZE + size - 1 and distance[cell + 1] + 1 < distance[cell]:
                distance[cell] = distance[cell + 1] + 1
                nearest[cell] = nearest[cell + 1]


@jit
def write_static(game, rules, static):
    """The maps of a game whose factories have just been placed (no resource is left under them)."""
    size = int(rules.map_size)
    distance = np.zeros(CELLS, np.int32)
    static.ice_cell[:] = -1
    static.ore_cell[:] = -1
    nearest_source(game.ice, size, static.ice_cell, distance)
    nearest_source(game.ore, size, static.ore_cell, distance)
    enter = np.zeros(CELLS, np.int16)
    for player in range(2):
        write_enter_costs(game, size, player, enter)
        for f in range(game.factory_count):
            if game.factory_owner[f] == player:
                write_home_prices(game, size, f, enter, static.home_price[f])
                list_nearest(game, size, game.ice, static.home_price[f], static.ice_near[f])
                list_nearest(game, size, game.ore, static.home_price[f], static.ore_near[f])


@jit
def count_rows(games, first):
    """How many rows each side has, as `first [2 * N + 1]`, where the rows of every side begin; a game that is done has none."""
    first[0] = 0
    for i in range(len(games)):
        game = games[i]
        for player in range(2):
            rows = int(game.robot_count[player]) if not game.done else 0
            for f in range(game.factory_count):
                if game.factory_alive[f] and game.factory_owner[f] == player and not game.done:
                    rows += 1
            first[2 * i + player + 1] = first[2 * i + player] + rows


@jit
def write_rows(game, rules, action_rules, static, b, feature, side, slot, kind, cell, ident, home, mask):
    """All rows of side `b`; the arrays are its part of the observation's."""
    player = b % 2
    built = np.zeros((2, 2 * MAX_FACTORIES), np.int32)
    numbers = np.zeros((2, MAX_FACTORIES), np.int64)
    work = np.zeros((MAX_FACTORIES, 2, MAX_WORK), np.int16)
    works = np.zeros(MAX_FACTORIES, np.int64)
    lights, heavies = count_robots(game, player, built)
    own, enemy = list_factories(game, player, numbers)
    side[:] = b
    for i in range(own):
        f = numbers[0, i]
        slot[i] = game.factory_slot[f]
        kind[i] = 0
        cell[i] = game.factory_cell[f]
        ident[i] = f
        home[i] = slot[i]
        mask[i] = factory_mask(game, rules, action_rules, player, f, lights, heavies, built)
        works[slot[i]] = list_rubble(game, rules, action_rules, f, work[slot[i]])
        write_factory(game, rules, static, own, enemy, built, player, f, int(mask[i]), feature[i])
    i = own
    alive = game.robot_alive
    first = player * MAX_ROBOTS
    for r in range(first, first + int(game.robot_slots[player])):
        if alive[r]:
            slot[i] = MAX_FACTORIES + r - first
            kind[i] = 1 + game.robot_heavy[r]
            cell[i] = game.robot_cell[r]
            ident[i] = game.robot_id[r]
            home[i] = game.factory_slot[game.robot_home[r]]
            mask[i] = robot_mask(game, rules, action_rules, player, r)
            write_robot(game, rules, static, numbers, own, enemy, work, works, player, r, int(mask[i]), feature[i])
            i += 1


@jit
def write_side_scalars(game, rules, player, scalar, k):
    """What one side has, from `scalar[k]` on."""
    left = max(int(rules.max_episode_length) - int(game.real_step), 1)
    factories = 0
    water = 0
    metal = 0
    ice = 0
    ore = 0
    power = 0
    least = 1 << 30
    for f in range(game.factory_count):
        if game.factory_alive[f] and game.factory_owner[f] == player:
            cargo = game.factory_cargo[f]
            factories += 1
            water += int(cargo[WATER])
            metal += int(cargo[METAL])
            ice += int(cargo[ICE])
            ore += int(cargo[ORE])
            power += int(game.factory_power[f])
            least = min(least, int(cargo[WATER]))
    if factories == 0:
        least = 0
    heavies = 0
    charge = 0
    carried_ice = 0
    carried_ore = 0
    count = int(game.robot_count[player])
    order, robot_heavy, robot_power, robot_cargo = game.robot_order[player], game.robot_heavy, game.robot_power, game.robot_cargo
    for i in range(count):
        r = order[i]
        heavies += int(robot_heavy[r])
        charge += int(robot_power[r])
        carried_ice += int(robot_cargo[r, ICE])
        carried_ore += int(robot_cargo[r, ORE])
    scalar[k] = factories / MAX_FACTORIES
    scalar[k + 1] = math.log(1.0 + count - heavies) / 4
    scalar[k + 2] = math.log(1.0 + heavies) / 4
    scalar[k + 3] = log_scale(water)
    scalar[k + 4] = log_scale(metal)
    scalar[k + 5] = log_scale(ice)
    scalar[k + 6] = log_scale(ore)
    scalar[k + 7] = log_scale(power)
    scalar[k + 8] = log_scale(charge)
    scalar[k + 9] = log_scale(carried_ice)
    scalar[k + 10] = log_scale(carried_ore)
    scalar[k + 11] = log_scale(int(game.lichen_total[player]))
    scalar[k + 12] = log_scale(least)
    scalar[k + 13] = min(least / left, 2.0)
    return k + 14


@jit
def write_scalars(game, rules, player, scalar):
    """Time, then the own side, then the enemy: `scalar [SCALARS]`."""
    turn = int(game.real_step)
    length = max(int(rules.max_episode_length), 1)
    cycle = max(int(rules.cycle_length), 1)
    day = int(rules.day_length)
    hour = turn % cycle
    left = max(length - turn, 0)
    scalar[0] = turn / length
    scalar[1] = left / length
    scalar[2] = min(left, 50) / 50
    scalar[3] = hour < day
    scalar[4] = math.sin(2 * math.pi * hour / cycle)
    scalar[5] = math.cos(2 * math.pi * hour / cycle)
    scalar[6] = (day - hour if hour < day else cycle - hour) / cycle
    scalar[7] = rules.map_size / SIZE
    scalar[8] = game.factories_per_team / MAX_FACTORIES
    k = write_side_scalars(game, rules, player, scalar, 9)
    write_side_scalars(game, rules, 1 - player, scalar, k)


@jit
def write_planes(game, rules, player, planes):
    """The board in blocks, `planes [PLANES, P, P]`, in the order of `PLANE_NAMES`; robots and resources per block width."""
    rubble, ice, ore, lichen, strain = game.rubble, game.ice, game.ore, game.lichen, game.strain
    factory_at, factory_owner, robot_at, robot_heavy = game.factory_at, game.factory_owner, game.robot_at, game.robot_heavy
    size = int(rules.map_size)
    grid = planes.shape[1]
    block = (size + grid - 1) // grid
    area = block * block
    total = np.zeros(PLANES, np.int64)
    for px in range(grid):
        for py in range(grid):
            total[:] = 0
            inside = 0
            ground = 0
            for x in range(px * block, min(px * block + block, size)):
                for cell in range(x * SIZE + py * block, x * SIZE + min(py * block + block, size)):
                    inside += 1
                    ground += int(rubble[cell])
                    if ice[cell]:
                        total[1] += 1
                    if ore[cell]:
                        total[2] += 1
                    grown = strain[cell]
                    if grown >= 0:
                        total[4 + (factory_owner[grown] != player)] += int(lichen[cell])
                    factory = factory_at[cell]
                    if factory >= 0:
                        total[6 + (factory_owner[factory] != player)] += 1
                    r = int(robot_at[cell])
                    if r >= 0:
                        total[8 + 2 * int(robot_heavy[r]) + (r // MAX_ROBOTS != player)] += 1
            planes[0, px, py] = ground / (100 * area)
            planes[3, px, py] = 1 - inside / area
            for plane in (1, 2, 8, 9, 10, 11):
                planes[plane, px, py] = total[plane] / block
            for plane in (4, 5):
                planes[plane, px, py] = total[plane] / (100 * area)
            for plane in (6, 7):
                planes[plane, px, py] = total[plane] / area


@jit
def mirror_planes(planes, mirrored):
    """The same board seen from the other side."""
    mirrored[:4] = planes[:4]
    for plane in range(4, PLANES, 2):
        mirrored[plane] = planes[plane + 1]
        mirrored[plane + 1] = planes[plane]


@jit
def observe_games(
    games, rules, action_rules, static, begin, end, first, feature, side, slot, kind, cell, ident, home, mask, planes, scalar
):
    """Rows, planes and scalars of games `begin .. end - 1`, both sides, into the arrays of the whole observation."""
    for i in range(begin, end):
        game = games[i]
        if game.done:
            continue
        write_planes(game, rules, 0, planes[2 * i])
        mirror_planes(planes[2 * i], planes[2 * i + 1])
        for b in range(2 * i, 2 * i + 2):
            write_scalars(game, rules, b % 2, scalar[b])
            rows = slice(first[b], first[b + 1])
            write_rows(
                game,
                rules,
                action_rules,
                static[i],
                b,
                feature[rows],
                side[rows],
                slot[rows],
                kind[rows],
                cell[rows],
                ident[rows],
                home[rows],
                mask[rows],
            )


def observe(
    games: np.recarray, rules: Any, action_rules: Any, static: np.recarray, obs: Observation, workers: Any = None, threads: int = 1
) -> None:
    """Write the rows of all living entities of N games, both sides; games that are done have no rows.

    Args:
        games: [N] of `GAME_DTYPE`, in their real turns.
        rules, action_rules: `GameConfig.rules()` and `ActionConfig.rules()`.
        static: [N] of `STATIC_DTYPE`, from `write_static`.
        obs: buffers for 2 * N sides.
        workers: an executor on which `threads` parts of the games are written at once.
    """
    if obs.sides != 2 * len(games):
        raise ValueError(f"The observation has room for {obs.sides} sides; {len(games)} games have {2 * len(games)}.")
    obs.map_size = int(rules["map_size"])
    count_rows(games, obs.first)
    obs.resize(int(obs.first[-1]))
    obs.feature[:, ROBOT_WIDTH:] = 0
    _write_rows_of_all(games, rules, action_rules, static, obs, workers, threads)
    if obs.own:
        _write_own(games, rules, obs, obs.side)


def _write_rows_of_all(
    games: np.recarray, rules: Any, action_rules: Any, static: np.recarray, obs: Observation, workers: Any, threads: int
) -> None:
    """What `observe_games` writes, in `threads` parts if there are workers."""
    rows = (obs.first, obs.feature, obs.side, obs.slot, obs.kind, obs.cell, obs.ident, obs.home, obs.mask, obs.planes, obs.scalar)
    if workers is None:
        observe_games(games, rules, action_rules, static, 0, len(games), *rows)
        return
    edges = np.linspace(0, len(games), threads + 1).astype(int)
    jobs = [workers.submit(observe_games, games, rules, action_rules, static, int(a), int(b), *rows) for a, b in zip(edges[:-1], edges[1:])]
    for job in jobs:
        job.result()


def plain(record: Any) -> Any:
    """The fields of a record as plain attributes (arrays are views of it): interpreted code reads those 20 times faster."""
    values = {name: record[name] for name in record.dtype.names}
    return SimpleNamespace(**{name: value if value.shape else value.item() for name, value in values.items()})


def observe_side(game: Any, rules: Any, action_rules: Any, static: Any, player: int, obs: Observation) -> None:
    """Write what one side of one game sees: an observation of one side, whose rows are all of side 0.

    Args:
        game: one record of `GAME_DTYPE`, in its real turns.
        rules, action_rules: as in `observe`.
        static: one record of `STATIC_DTYPE`.
    """
    if obs.sides != 1:
        raise ValueError(f"The observation has room for {obs.sides} sides; one side needs an observation of 1.")
    count = int(game.robot_count[player])
    count += int(((game.factory_alive == 1) & (game.factory_owner == player)).sum())
    obs.map_size = int(rules["map_size"])
    obs.first[1] = count
    obs.resize(count)
    obs.feature[:, ROBOT_WIDTH:] = 0
    record, record_rules = game, rules
    if not hasattr(write_rows, "py_func"):  # not compiled
        game, rules, action_rules, static = plain(game), plain(rules), plain(action_rules), plain(static)
    write_planes(game, rules, player, obs.planes[0])
    write_scalars(game, rules, player, obs.scalar[0])
    rows = (obs.feature, obs.side, obs.slot, obs.kind, obs.cell, obs.ident, obs.home, obs.mask)
    write_rows(game, rules, action_rules, static, player, *rows)
    if obs.own:
        _write_own(np.asarray(record).reshape(1).view(np.recarray), record_rules, obs, np.full(count, player, np.int32))
    obs.side[:] = 0


def _write_own(games: Any, rules: Any, obs: Observation, side: np.ndarray) -> None:
    """The features of a user's own, into the columns after ours."""
    rows = obs.rows
    seen = Seen(games, rules, side[:rows], obs.slot[:rows], obs.kind[:rows], obs.cell[:rows], obs.home[:rows], obs.mask[:rows])
    write_own(obs.own, seen, obs.feature[:rows, ROBOT_WIDTH : ROBOT_WIDTH + len(obs.own)])
