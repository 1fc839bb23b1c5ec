"""The numbers that rows are made of: features of one robot and of one factory, and their names.

Written for one row at a time, looking only at the neighbourhood and at maps and lists prepared for the game and the
side, so that it is fast compiled and fast enough interpreted. Every function writes runs of named numbers into `row`,
each from its own start on: `AT` and `OF_FACTORY` say where, and the names of all numbers follow from them.
"""

from __future__ import annotations

import math
from typing import Any

from engine.config import MAX_FACTORIES, MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import ICE, METAL, ORE, WATER
from wrappers.action import BUILD_HEAVY, BUILD_LIGHT, DIG, MOVE, MOVE_BIT, PICKUP, TRANSFER
from wrappers.action import WATER as GIVE_WATER
from wrappers.targets import (
    STEPS,
    TARGET,
    WAY,
    nearest_factory,
    next_rubble,
    next_source,
    numbered,
    wall_cell,
    write_steps,
    write_target,
    write_way,
)

CROP = 2  # the crop shows 5 x 5 cells
NEAR = 3  # robots are counted in 7 x 7 cells
CROP_CELLS = (2 * CROP + 1) ** 2

BODY = numbered(
    *("light", "heavy", "power", "power_digs", "ice", "ore", "water", "metal", "ice_full", "ore_full", "can_rewrite"),
    *("on_factory", "on_ice", "on_ore", "rubble_here", "own_lichen_here", "enemy_lichen_here"),
    *("queue_empty", "next_move", "next_transfer", "next_pickup", "next_dig", "next_self_destruct", "next_recharge"),
    *("next_centre", "next_up", "next_right", "next_down", "next_left", "next_times"),
)
FOE = numbered("near", "dx", "dy", "heavy", "weaker")
COUNTS = numbered("friends_near", "foes_near")
STOCK = numbered("water", "ice", "metal", "power")
HOME = numbered("home_alive", "home_is_nearest")
MAY = numbered("may_move", "may_transfer", "may_pickup", "may_dig", "may_up", "may_right", "may_down", "may_left")
CROPPED = numbered("blocked", "rubble", "ice", "ore", "own_factory", "friend", "enemy", "lichen")  # planes of `CROP_CELLS` numbers
OWN = numbered(
    *("water", "water_low", "water_lasts", "metal", "metal_lights", "metal_heavies", "ice", "ore", "power", "power_heavies"),
    *("lights_home", "heavies_home", "no_robot_home", "centre_taken"),
    *("grow_tiles", "connected_tiles", "water_cost", "waterings"),
)
RING = numbered("rubble", "open", "friends", "foes")
GROUND = numbered("own_lichen_near", "enemy_lichen_near", "ice_near", "ore_near")
TEAM = numbered("own_factories", "enemy_factories", "may_build_light", "may_build_heavy", "may_water")
TIME = numbered("turn", "turns_left", "last_turns", "day")


def layout(*runs: tuple) -> tuple:
    """Where each run of a row begins, by its name, and all numbers' names in order; `runs` are pairs (name, names)."""
    starts = {}
    names: list = []
    for name, numbers in runs:
        starts[name] = len(names)
        names += numbers
    return numbered(*starts)._replace(**starts), names


def prefixed(prefix: str, run: Any) -> list:
    """A run's names with `prefix` before them."""
    return [prefix + name for name in run._fields]


AT, ROBOT_NAMES = layout(
    ("body", BODY._fields),
    *((target, prefixed(target + "_", TARGET)) for target in ("ice", "ore", "factory", "home", "enemy_factory", "rubble")),
    *(("way_" + target, prefixed("way_" + target + "_", STEPS)) for target in ("ice", "ore", "rubble")),
    ("way_home", prefixed("way_home_", WAY)),
    ("foe", prefixed("foe_", FOE)),
    ("counts", COUNTS._fields),
    ("factory_stock", prefixed("factory_", STOCK)),
    ("home_stock", prefixed("home_", STOCK)),
    ("home_state", HOME._fields),
    ("may", MAY._fields),
    ("crop", [f"crop_{plane}[{dx},{dy}]" for plane in CROPPED._fields for dx in range(-CROP, CROP + 1) for dy in range(-CROP, CROP + 1)]),
)
OF_FACTORY, FACTORY_NAMES = layout(
    ("own", OWN._fields),
    ("ice", prefixed("ice_", TARGET)),
    ("ore", prefixed("ore_", TARGET)),
    *(("ring_" + ring, [f"{what}_ring_{ring}" for what in RING._fields]) for ring in ("2", "3", "4_6")),
    ("ground", GROUND._fields),
    ("team", TEAM._fields),
    ("time", TIME._fields),
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
    row[k + BODY.light] = 1 - heavy
    row[k + BODY.heavy] = heavy
    row[k + BODY.power] = power / rules.battery_capacity[heavy]
    row[k + BODY.power_digs] = min(power / max(int(rules.dig_cost[heavy]), 1), 20.0) / 20
    row[k + BODY.ice] = cargo[ICE] / max(space, 1)
    row[k + BODY.ore] = cargo[ORE] / max(space, 1)
    row[k + BODY.water] = cargo[WATER] / max(space, 1)
    row[k + BODY.metal] = cargo[METAL] / max(space, 1)
    row[k + BODY.ice_full] = cargo[ICE] >= space
    row[k + BODY.ore_full] = cargo[ORE] >= space
    row[k + BODY.can_rewrite] = power >= rules.action_queue_power_cost[heavy]
    factory = game.factory_at[cell]
    strain = game.strain[cell]
    lichen = int(game.lichen[cell]) / 100 if strain >= 0 else 0.0
    mine = strain >= 0 and game.factory_owner[strain] == player
    row[k + BODY.on_factory] = factory >= 0
    row[k + BODY.on_ice] = game.ice[cell]
    row[k + BODY.on_ore] = game.ore[cell]
    row[k + BODY.rubble_here] = int(game.rubble[cell]) / 100
    row[k + BODY.own_lichen_here] = lichen if mine else 0.0
    row[k + BODY.enemy_lichen_here] = 0.0 if mine else lichen
    row[k + BODY.queue_empty : k + BODY.next_times + 1] = 0
    if game.queue_len[r] == 0:
        row[k + BODY.queue_empty] = 1
    else:
        front = game.queue[r, 0]
        row[k + BODY.next_move + min(max(int(front[0]), 0), 5)] = 1  # move, transfer, ... in the game's order
        row[k + BODY.next_centre + min(max(int(front[1]), 0), 4)] = 1
        row[k + BODY.next_times] = math.log(1.0 + max(int(front[5]), 0)) * 0.1


@jit
def write_stock(game, f, row, k):
    """What a living factory holds, in brief; zeros for a dead one or none."""
    if f < 0 or not game.factory_alive[f]:
        row[k : k + len(STOCK)] = 0
        return
    cargo = game.factory_cargo[f]
    row[k + STOCK.water] = log_scale(int(cargo[WATER]))
    row[k + STOCK.ice] = log_scale(int(cargo[ICE]))
    row[k + STOCK.metal] = log_scale(int(cargo[METAL]))
    row[k + STOCK.power] = log_scale(int(game.factory_power[f]))


@jit
def write_foe(game, r, foe, cell, row, k):
    """The nearest enemy robot in sight, or zeros; `weaker` is 1 if this robot is heavier, 0.5 if it has more power."""
    row[k : k + len(FOE)] = 0
    if foe >= 0:
        there = int(game.robot_cell[foe])
        dx = there // SIZE - cell // SIZE
        dy = there % SIZE - cell % SIZE
        row[k + FOE.near] = 1 / max(abs(dx) + abs(dy), 1)
        row[k + FOE.dx] = dx / NEAR
        row[k + FOE.dy] = dy / NEAR
        row[k + FOE.heavy] = game.robot_heavy[foe]
        if game.robot_heavy[r] != game.robot_heavy[foe]:
            row[k + FOE.weaker] = 1 if game.robot_heavy[r] else -1
        else:
            row[k + FOE.weaker] = 0.5 * min(max(int(game.robot_power[r]) - int(game.robot_power[foe]), -1), 1)


@jit
def look_around(game, rules, player, r, cell, row, k):
    """The crop around `cell` into `row[k:]`; returns (friends, enemies, nearest enemy robot or -1) in 7 x 7 cells."""
    rubble, ice, ore, lichen, strain = game.rubble, game.ice, game.ore, game.lichen, game.strain
    factory_at, factory_owner, robot_at, robot_heavy = game.factory_at, game.factory_owner, game.robot_at, game.robot_heavy
    size = int(rules.map_size)
    x = cell // SIZE
    y = cell % SIZE
    row[k : k + len(CROPPED) * CROP_CELLS] = 0
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
                    row[at + CROPPED.blocked * CROP_CELLS] = 1
                continue
            near = nx * SIZE + ny
            other = int(robot_at[near])
            if other >= 0 and other != r:
                if other // MAX_ROBOTS == player:
                    friends += 1
                    if shown:
                        row[at + CROPPED.friend * CROP_CELLS] = 0.5 + 0.5 * robot_heavy[other]
                else:
                    foes += 1
                    if abs(dx) + abs(dy) < least:
                        least = abs(dx) + abs(dy)
                        foe = other
                    if shown:
                        row[at + CROPPED.enemy * CROP_CELLS] = 0.5 + 0.5 * robot_heavy[other]
            if not shown:
                continue
            factory = factory_at[near]
            if factory >= 0:
                if factory_owner[factory] == player:
                    row[at + CROPPED.own_factory * CROP_CELLS] = 1
                else:
                    row[at + CROPPED.blocked * CROP_CELLS] = 1
                continue
            if rubble[near]:
                row[at + CROPPED.rubble * CROP_CELLS] = rubble[near] / 100
            if ice[near]:
                row[at + CROPPED.ice * CROP_CELLS] = 1
            if ore[near]:
                row[at + CROPPED.ore * CROP_CELLS] = 1
            if strain[near] >= 0:
                sign = 1 if factory_owner[strain[near]] == player else -1
                row[at + CROPPED.lichen * CROP_CELLS] = int(lichen[near]) / 100 * sign
    return friends, foes, foe


@jit
def write_robot(game, rules, static, numbers, own, enemy, work, works, player, r, mask, row):
    """All features of robot `r` into `row [ROBOT_WIDTH]`; `numbers`, `own`, `enemy` as `list_factories` gives them; of the factory in
    slot s, `work[s]` and `works[s]` are cells and number of `list_rubble`."""
    cell = int(game.robot_cell[r])
    heavy = int(game.robot_heavy[r])
    factory_cell = game.factory_cell
    write_body(game, rules, player, r, cell, heavy, row, AT.body)
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
    write_target(row, AT.ice, cell, ice)
    write_target(row, AT.ore, cell, ore)
    write_target(row, AT.factory, cell, wall_cell(cell, int(factory_cell[near])) if near >= 0 else -1)
    write_target(row, AT.home, cell, wall_cell(cell, int(factory_cell[home])) if home_alive else -1)
    write_target(row, AT.enemy_factory, cell, wall_cell(cell, int(factory_cell[foe_factory])) if foe_factory >= 0 else -1)
    slot = int(game.factory_slot[home]) if home_alive else 0
    rubble = next_rubble(game.robot_at, work[slot], int(works[slot]), player, r, cell) if home_alive else -1
    write_target(row, AT.rubble, cell, rubble)
    write_steps(game, rules, r, ice, row, AT.way_ice)
    write_steps(game, rules, r, ore, row, AT.way_ore)
    write_steps(game, rules, r, rubble, row, AT.way_rubble)
    if goal >= 0:
        write_way(game, rules, static.home_price[goal], r, row, AT.way_home)
    else:
        row[AT.way_home : AT.way_home + len(WAY)] = 0
    friends, foes, foe = look_around(game, rules, player, r, cell, row, AT.crop)
    write_foe(game, r, foe, cell, row, AT.foe)
    row[AT.counts + COUNTS.friends_near] = friends / 8
    row[AT.counts + COUNTS.foes_near] = foes / 8
    write_stock(game, near, row, AT.factory_stock)
    write_stock(game, home, row, AT.home_stock)
    row[AT.home_state + HOME.home_alive] = home_alive
    row[AT.home_state + HOME.home_is_nearest] = home_alive and home == near
    row[AT.may + MAY.may_move] = mask >> MOVE & 1
    row[AT.may + MAY.may_transfer] = mask >> TRANSFER & 1
    row[AT.may + MAY.may_pickup] = mask >> PICKUP & 1
    row[AT.may + MAY.may_dig] = mask >> DIG & 1
    for d in range(1, 5):
        row[AT.may + MAY.may_up + d - 1] = mask >> (MOVE_BIT + d) & 1


@jit
def write_rings(game, rules, player, cell, row):
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
        k = OF_FACTORY.ring_2 + ring * len(RING)
        row[k + RING.rubble] = ground / (100 * max(cells, 1))
        row[k + RING.open] = flat / max(cells, 1)
        row[k + RING.friends] = min(friends, 16.0) / 8
        row[k + RING.foes] = min(foes, 16.0) / 8
    k = OF_FACTORY.ground
    row[k + GROUND.own_lichen_near] = log_scale(own_lichen)
    row[k + GROUND.enemy_lichen_near] = log_scale(enemy_lichen)
    row[k + GROUND.ice_near] = min(ice_near, 16) / 8
    row[k + GROUND.ore_near] = min(ore_near, 16) / 8


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
    row[OF_FACTORY.own + OWN.water] = log_scale(water)
    row[OF_FACTORY.own + OWN.water_low] = min(water, 200) / 100
    row[OF_FACTORY.own + OWN.water_lasts] = min(water / max(left, 1), 2.0)
    row[OF_FACTORY.own + OWN.metal] = log_scale(metal)
    row[OF_FACTORY.own + OWN.metal_lights] = min(metal / max(int(rules.metal_cost[0]), 1), 20.0) / 10
    row[OF_FACTORY.own + OWN.metal_heavies] = min(metal / max(int(rules.metal_cost[1]), 1), 4.0) / 2
    row[OF_FACTORY.own + OWN.ice] = log_scale(int(cargo[ICE]))
    row[OF_FACTORY.own + OWN.ore] = log_scale(int(cargo[ORE]))
    row[OF_FACTORY.own + OWN.power] = log_scale(power)
    row[OF_FACTORY.own + OWN.power_heavies] = min(power / max(int(rules.power_cost[1]), 1), 4.0) / 2
    lights = int(built[0, f])
    heavies = int(built[1, f])
    row[OF_FACTORY.own + OWN.lights_home] = min(lights, 20) / 10
    row[OF_FACTORY.own + OWN.heavies_home] = min(heavies, 10) / 5
    row[OF_FACTORY.own + OWN.no_robot_home] = lights + heavies == 0
    row[OF_FACTORY.own + OWN.centre_taken] = game.robot_at[cell] >= 0
    grow = int(game.factory_grow[f])
    factor = int(rules.lichen_watering_cost_factor)
    cost = (grow + factor - 1) // factor
    row[OF_FACTORY.own + OWN.grow_tiles] = log_scale(grow)
    row[OF_FACTORY.own + OWN.connected_tiles] = log_scale(int(game.factory_connected[f]))
    row[OF_FACTORY.own + OWN.water_cost] = min(cost, 40) / 20
    row[OF_FACTORY.own + OWN.waterings] = min(water / max(cost, 1), 100.0) / 50
    write_target(row, OF_FACTORY.ice, cell, int(static.ice_cell[cell]))
    write_target(row, OF_FACTORY.ore, cell, int(static.ore_cell[cell]))
    write_rings(game, rules, player, cell, row)
    row[OF_FACTORY.team + TEAM.own_factories] = own / MAX_FACTORIES
    row[OF_FACTORY.team + TEAM.enemy_factories] = enemy / MAX_FACTORIES
    row[OF_FACTORY.team + TEAM.may_build_light] = mask >> BUILD_LIGHT & 1
    row[OF_FACTORY.team + TEAM.may_build_heavy] = mask >> BUILD_HEAVY & 1
    row[OF_FACTORY.team + TEAM.may_water] = mask >> GIVE_WATER & 1
    row[OF_FACTORY.time + TIME.turn] = turn / max(int(rules.max_episode_length), 1)
    row[OF_FACTORY.time + TIME.turns_left] = left / max(int(rules.max_episode_length), 1)
    row[OF_FACTORY.time + TIME.last_turns] = min(left, 50) / 50
    row[OF_FACTORY.time + TIME.day] = turn % rules.cycle_length < rules.day_length
    row[FACTORY_WIDTH:] = 0
