"""The numbers that rows are made of: features of one robot and of one factory, and their names.

Written for one row at a time, looking only at the neighbourhood and at maps and lists prepared for the game and the
side, so that it is fast compiled and fast enough interpreted. Every function writes a run of `row` from position `k` on
and returns where the next run begins; the lists of names at the top are in the same order.
"""

from __future__ import annotations

import math

from engine.config import MAX_FACTORIES, MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import ICE, METAL, ORE, WATER
from wrappers.action import BUILD_LIGHT, MOVE_BIT
from wrappers.targets import nearest_factory, next_rubble, next_source, wall_cell, write_steps, write_target, write_way

CROP = 2  # the crop shows 5 x 5 cells
NEAR = 3  # robots are counted in 7 x 7 cells
CROP_CELLS = (2 * CROP + 1) ** 2

_TARGET = ("side_x", "side_y", "dx", "dy", "distance", "closeness", "at", "adjacent")
_TARGETS = ("ice", "ore", "factory", "home", "enemy_factory", "rubble")
_DIRECTIONS = ("up", "right", "down", "left")
_CROP = ("blocked", "rubble", "ice", "ore", "own_factory", "friend", "enemy", "lichen")
_OFFSETS = [(dx, dy) for dx in range(-CROP, CROP + 1) for dy in range(-CROP, CROP + 1)]
_BODY = (
    ["light", "heavy", "power", "power_digs", "ice", "ore", "water", "metal", "ice_full", "ore_full", "can_rewrite"]
    + ["on_factory", "on_ice", "on_ore", "rubble_here", "own_lichen_here", "enemy_lichen_here"]
    + ["queue_empty", "next_move", "next_transfer", "next_pickup", "next_dig", "next_self_destruct", "next_recharge"]
    + ["next_centre", "next_up", "next_right", "next_down", "next_left", "next_times"]
)
_AROUND = (
    ["foe_near", "foe_dx", "foe_dy", "foe_heavy", "foe_weaker"]
    + ["friends_near", "foes_near"]
    + [f"{which}_{what}" for which in ("factory", "home") for what in ("water", "ice", "metal", "power")]
    + ["home_alive", "home_is_nearest"]
)
_ROBOT_MASK = ["may_move", "may_transfer", "may_pickup", "may_dig", "may_up", "may_right", "may_down", "may_left"]

ROBOT_NAMES = (
    _BODY
    + [f"{target}_{part}" for target in _TARGETS for part in _TARGET]
    + [f"way_{target}_{direction}" for target in ("ice", "ore", "rubble", "home") for direction in _DIRECTIONS]
    + ["way_home_length", "way_home_power_after"]
    + _AROUND
    + _ROBOT_MASK
    + [f"crop_{plane}[{dx},{dy}]" for plane in _CROP for dx, dy in _OFFSETS]
)
FACTORY_NAMES = (
    ["water", "water_low", "water_lasts", "metal", "metal_lights", "metal_heavies", "ice", "ore", "power", "power_heavies"]
    + ["lights_home", "heavies_home", "no_robot_home", "centre_taken"]
    + ["grow_tiles", "connected_tiles", "water_cost", "waterings"]
    + [f"{target}_{part}" for target in ("ice", "ore") for part in _TARGET]
    + [f"{what}_ring_{ring}" for ring in ("2", "3", "4_6") for what in ("rubble", "open", "friends", "foes")]
    + ["own_lichen_near", "enemy_lichen_near", "ice_near", "ore_near"]
    + ["own_factories", "enemy_factories", "may_build_light", "may_build_heavy", "may_water"]
    + ["turn", "turns_left", "last_turns", "day"]
)
ROBOT_WIDTH, FACTORY_WIDTH = len(ROBOT_NAMES), len(FACTORY_NAMES)


@jit
def log_scale(value):
    """Amounts from 0 to about 22,000 to 0 .. 1, finest near 0."""
    return math.log(1.0 + max(value, 0)) * 0.1


@jit
def list_factories(game, player, numbers):
    """Numbers of living factories: `numbers [2, MAX_FACTORIES]`, own then enemy; returns how many of each."""
    own = 0
    enemy = 0
    for f in range(game.factory_count):
        if game.factory_alive[f]:
            if game.factory_owner[f] == player:
                numbers[0, own] = f
                own += 1
            else:
                numbers[1, enemy] = f
                enemy += 1
    return own, enemy


@jit
def write_body(game, rules, player, r, cell, heavy, row, k):
    """The robot itself, what it stands on, and the front of its queue."""
    power = int(game.robot_power[r])
    space = int(rules.cargo_space[heavy])
    cargo = game.robot_cargo[r]
    row[k] = 1 - heavy
    row[k + 1] = heavy
    row[k + 2] = power / rules.battery_capacity[heavy]
    row[k + 3] = min(power / max(int(rules.dig_cost[heavy]), 1), 20.0) / 20
    for resource in range(4):
        row[k + 4 + resource] = cargo[resource] / max(space, 1)
    row[k + 8] = cargo[ICE] >= space
    row[k + 9] = cargo[ORE] >= space
    row[k + 10] = power >= rules.action_queue_power_cost[heavy]
    k += 11
    factory = game.factory_at[cell]
    strain = game.strain[cell]
    lichen = int(game.lichen[cell]) / 100 if strain >= 0 else 0.0
    mine = strain >= 0 and game.factory_owner[strain] == player
    row[k] = factory >= 0
    row[k + 1] = game.ice[cell]
    row[k + 2] = game.ore[cell]
    row[k + 3] = int(game.rubble[cell]) / 100
    row[k + 4] = lichen if mine else 0.0
    row[k + 5] = 0.0 if mine else lichen
    k += 6
    row[k : k + 13] = 0
    if game.queue_len[r] == 0:
        row[k] = 1
    else:
        front = game.queue[r, 0]
        row[k + 1 + min(max(int(front[0]), 0), 5)] = 1
        row[k + 7 + min(max(int(front[1]), 0), 4)] = 1
        row[k + 12] = math.log(1.0 + max(int(front[5]), 0)) * 0.1
    return k + 13


@jit
def write_stock(game, f, row, k):
    """What a living factory holds, in brief; zeros for a dead one or none."""
    if f < 0 or not game.factory_alive[f]:
        row[k : k + 4] = 0
        return k + 4
    cargo = game.factory_cargo[f]
    row[k] = log_scale(int(cargo[WATER]))
    row[k + 1] = log_scale(int(cargo[ICE]))
    row[k + 2] = log_scale(int(cargo[METAL]))
    row[k + 3] = log_scale(int(game.factory_power[f]))
    return k + 4


@jit
def write_foe(game, r, foe, cell, row, k):
    """The nearest enemy robot in sight, or zeros; the last number is 1 if this robot is heavier, 0.5 if it has more power."""
    row[k : k + 5] = 0
    if foe >= 0:
        there = int(game.robot_cell[foe])
        dx = there // SIZE - cell // SIZE
        dy = there % SIZE - cell % SIZE
        row[k] = 1 / max(abs(dx) + abs(dy), 1)
        row[k + 1] = dx / NEAR
        row[k + 2] = dy / NEAR
        row[k + 3] = game.robot_heavy[foe]
        if game.robot_heavy[r] != game.robot_heavy[foe]:
            row[k + 4] = 1 if game.robot_heavy[r] else -1
        else:
            row[k + 4] = 0.5 * min(max(int(game.robot_power[r]) - int(game.robot_power[foe]), -1), 1)
    return k + 5


@jit
def look_around(game, rules, player, r, cell, row, k):
    """The crop around `cell` into `row[k:]`; returns (friends, enemies, nearest enemy robot or -1) in 7 x 7 cells."""
    rubble, ice, ore, lichen, strain = game.rubble, game.ice, game.ore, game.lichen, game.strain
    factory_at, factory_owner, robot_at, robot_heavy = game.factory_at, game.factory_owner, game.robot_at, game.robot_heavy
    size = int(rules.map_size)
    x = cell // SIZE
    y = cell % SIZE
    row[k : k + 8 * CROP_CELLS] = 0
    friends = 0
    foes = 0
    foe = -1
    least = 1 << 30
    for dx in range(-NEAR, NEAR + 1):
        for dy in range(-NEAR, NEAR + 1):
            shown = -CROP <= dx <= CROP and -CROP <= dy <= CROP
            at = k + (dx + CROP) * (2 * CROP + 1) + dy + CROP
            nx = x + dx
            ny = y + dy
            if nx < 0 or ny < 0 or nx >= size or ny >= size:
                if shown:
                    row[at] = 1
                continue
            near = nx * SIZE + ny
            other = int(robot_at[near])
            if other >= 0 and other != r:
                if other // MAX_ROBOTS == player:
                    friends += 1
                    if shown:
                        row[at + 5 * CROP_CELLS] = 0.5 + 0.5 * robot_heavy[other]
                else:
                    foes += 1
                    if abs(dx) + abs(dy) < least:
                        least = abs(dx) + abs(dy)
                        foe = other
                    if shown:
                        row[at + 6 * CROP_CELLS] = 0.5 + 0.5 * robot_heavy[other]
            if not shown:
                continue
            factory = factory_at[near]
            if factory >= 0:
                if factory_owner[factory] == player:
                    row[at + 4 * CROP_CELLS] = 1
                else:
                    row[at] = 1
                continue
            if rubble[near]:
                row[at + CROP_CELLS] = rubble[near] / 100
            if ice[near]:
                row[at + 2 * CROP_CELLS] = 1
            if ore[near]:
                row[at + 3 * CROP_CELLS] = 1
            if strain[near] >= 0:
                sign = 1 if factory_owner[strain[near]] == player else -1
                row[at + 7 * CROP_CELLS] = int(lichen[near]) / 100 * sign
    return friends, foes, foe


@jit
def write_robot(game, rules, static, numbers, own, enemy, work, works, player, r, mask, row):
    """All features of robot `r` into `row [ROBOT_WIDTH]`; `numbers`, `own`, `enemy` as `list_factories` gives them; of the factory in
    slot s, `work[s]` and `works[s]` are cells and number of `list_rubble`."""
    cell = int(game.robot_cell[r])
    heavy = int(game.robot_heavy[r])
    factory_cell = game.factory_cell
    k = write_body(game, rules, player, r, cell, heavy, row, 0)
    near = nearest_factory(factory_cell, numbers[0], own, cell)
    home = int(game.robot_home[r])
    home_alive = home >= 0 and game.factory_alive[home] == 1
    goal = home if home_alive else near
    ice = int(static.ice_cell[cell])
    ore = int(static.ore_cell[cell])
    if goal >= 0:
        ice = next_source(game, static.ice_near[goal], static.home_price[goal], player, r, cell)
        ore = next_source(game, static.ore_near[goal], static.home_price[goal], player, r, cell)
    foe_factory = nearest_factory(factory_cell, numbers[1], enemy, cell)
    k = write_target(row, k, cell, ice)
    k = write_target(row, k, cell, ore)
    k = write_target(row, k, cell, wall_cell(cell, int(factory_cell[near])) if near >= 0 else -1)
    k = write_target(row, k, cell, wall_cell(cell, int(factory_cell[home])) if home_alive else -1)
    k = write_target(row, k, cell, wall_cell(cell, int(factory_cell[foe_factory])) if foe_factory >= 0 else -1)
    slot = int(game.factory_slot[home]) if home_alive else 0
    rubble = next_rubble(game.robot_at, work[slot], int(works[slot]), player, r, cell) if home_alive else -1
    k = write_target(row, k, cell, rubble)
    k = write_steps(game, rules, r, ice, row, k)
    k = write_steps(game, rules, r, ore, row, k)
    k = write_steps(game, rules, r, rubble, row, k)
    if goal >= 0:
        k = write_way(game, rules, static.home_price[goal], r, row, k)
    else:
        row[k : k + 6] = 0
        k += 6
    friends, foes, foe = look_around(game, rules, player, r, cell, row, ROBOT_WIDTH - 8 * CROP_CELLS)
    k = write_foe(game, r, foe, cell, row, k)
    row[k] = friends / 8
    row[k + 1] = foes / 8
    k = write_stock(game, near, row, k + 2)
    k = write_stock(game, home, row, k)
    row[k] = home_alive
    row[k + 1] = home_alive and home == near
    k += 2
    for kind in range(1, 5):
        row[k] = mask >> kind & 1
        k += 1
    for direction in range(1, 5):
        row[k] = mask >> (MOVE_BIT + direction) & 1
        k += 1


@jit
def write_rings(game, rules, player, cell, row, k):
    """Ground and robots in three square rings around a factory, and lichen and resources near it."""
    rubble, ice, ore, lichen, strain = game.rubble, game.ice, game.ore, game.lichen, game.strain
    factory_owner, robot_at, robot_heavy = game.factory_owner, game.robot_at, game.robot_heavy
    size = int(rules.map_size)
    x = cell // SIZE
    y = cell % SIZE
    own_lichen = 0
    enemy_lichen = 0
    ice_near = 0
    ore_near = 0
    for ring in range(3):
        inner = 2 + ring if ring < 2 else 4
        outer = 2 + ring if ring < 2 else 6
        cells = 0
        ground = 0
        flat = 0
        friends = 0.0
        foes = 0.0
        for nx in range(max(x - outer, 0), min(x + outer, size - 1) + 1):
            for ny in range(max(y - outer, 0), min(y + outer, size - 1) + 1):
                if abs(nx - x) < inner and abs(ny - y) < inner:
                    continue
                near = nx * SIZE + ny
                cells += 1
                ground += int(rubble[near])
                if ice[near]:
                    ice_near += 1
                elif ore[near]:
                    ore_near += 1
                elif rubble[near] == 0:
                    flat += 1
                if strain[near] >= 0:
                    if factory_owner[strain[near]] == player:
                        own_lichen += int(lichen[near])
                    else:
                        enemy_lichen += int(lichen[near])
                other = int(robot_at[near])
                if other >= 0:
                    if other // MAX_ROBOTS == player:
                        friends += 0.5 + 0.5 * robot_heavy[other]
                    else:
                        foes += 0.5 + 0.5 * robot_heavy[other]
        row[k] = ground / (100 * max(cells, 1))
        row[k + 1] = flat / max(cells, 1)
        row[k + 2] = min(friends, 16.0) / 8
        row[k + 3] = min(foes, 16.0) / 8
        k += 4
    row[k] = log_scale(own_lichen)
    row[k + 1] = log_scale(enemy_lichen)
    row[k + 2] = min(ice_near, 16) / 8
    row[k + 3] = min(ore_near, 16) / 8
    return k + 4


@jit
def write_factory(game, rules, static, own, enemy, built, player, f, mask, row):
    """All features of factory `f` into `row`, zeros behind them; `built [2, F]` counts living robots by kind and home."""
    cell = int(game.factory_cell[f])
    cargo = game.factory_cargo[f]
    water = int(cargo[WATER])
    metal = int(cargo[METAL])
    power = int(game.factory_power[f])
    turn = int(game.real_step)
    left = max(int(rules.max_episode_length) - turn, 0)
    row[0] = log_scale(water)
    row[1] = min(water, 200) / 100
    row[2] = min(water / max(left, 1), 2.0)
    row[3] = log_scale(metal)
    row[4] = min(metal / max(int(rules.metal_cost[0]), 1), 20.0) / 10
    row[5] = min(metal / max(int(rules.metal_cost[1]), 1), 4.0) / 2
    row[6] = log_scale(int(cargo[ICE]))
    row[7] = log_scale(int(cargo[ORE]))
    row[8] = log_scale(power)
    row[9] = min(power / max(int(rules.power_cost[1]), 1), 4.0) / 2
    lights = int(built[0, f])
    heavies = int(built[1, f])
    row[10] = min(lights, 20) / 10
    row[11] = min(heavies, 10) / 5
    row[12] = lights + heavies == 0
    row[13] = game.robot_at[cell] >= 0
    grow = int(game.factory_grow[f])
    factor = int(rules.lichen_watering_cost_factor)
    cost = (grow + factor - 1) // factor
    row[14] = log_scale(grow)
    row[15] = log_scale(int(game.factory_connected[f]))
    row[16] = min(cost, 40) / 20
    row[17] = min(water / max(cost, 1), 100.0) / 50
    k = write_target(row, 18, cell, int(static.ice_cell[cell]))
    k = write_target(row, k, cell, int(static.ore_cell[cell]))
    k = write_rings(game, rules, player, cell, row, k)
    row[k] = own / MAX_FACTORIES
    row[k + 1] = enemy / MAX_FACTORIES
    for order in range(3):
        row[k + 2 + order] = mask >> (BUILD_LIGHT + order) & 1
    row[k + 5] = turn / max(int(rules.max_episode_length), 1)
    row[k + 6] = left / max(int(rules.max_episode_length), 1)
    row[k + 7] = min(left, 50) / 50
    row[k + 8] = turn % rules.cycle_length < rules.day_length
    row[FACTORY_WIDTH:] = 0
