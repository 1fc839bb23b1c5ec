"""Legal actions of every row as the bits of an integer (`wrappers.action`).

A mask is sound: what it allows, the official engine executes this turn, whatever else the same side does that the masks
allow at the same time, and whatever the enemy does. It follows that
- a robot that cannot pay for a new queue may only do what its queue does next (or WAIT, which then lets the queue run);
- no robot enters the centre of an own factory, where newborn robots stand, and nothing is built while somebody is there;
- watering is offered only if the factory can pay for the growth of the last turn (the first check of the official
  engine) and for the most that this turn's digging and dying can open up (its second).
What is allowed is of use as far as the state says: watering has a tile to grow on now, and the most power that a pickup can bring leaves
the robot with more than waiting would. What others do in the same turn may still leave nothing of it: rubble of one that dies on the tile,
friends who take the factory's power first; and a quarter of a small room may be no more than the order costs.
RECHARGE is waiting with a threshold: it is executed in the turn in which the battery has reached it.
"""

from __future__ import annotations

import numpy as np

from engine.config import CELLS, MAX_FACTORIES, MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import DX, DY, POWER
from engine.state import METAL as METAL_STOCK
from engine.state import WATER as WATER_STOCK
from wrappers.action import (
    BUILD_LIGHT,
    DIG,
    DIG_ICE,
    DIG_LICHEN,
    DIG_ORE,
    DIG_RUBBLE,
    MOVE,
    MOVE_BIT,
    PICKUP,
    PICKUP_BIT,
    RECHARGE,
    SELF_DESTRUCT,
    TRANSFER,
    TRANSFER_BIT,
    WAIT,
    WATER,
    factory_number,
)


@jit
def flood(f, centre, size, spread, rubble, ice, ore, lichen, strain, factory_at, robot_at, robot_heavy, can_dig, strict, limit):
    """Tiles that factory `f` can grow lichen on, and how many of them are its own already; the official flood fill.

    Boards are `[CELLS]`. Rubble that the robot on it removes in one dig (`can_dig [2]`, by kind) is no obstacle;
    unless `strict`, foreign lichen nearby is none either. Stops once `limit` tiles are passed.
    """
    seen = np.zeros(CELLS, np.uint8)
    frontier = np.zeros(CELLS, np.int16)
    tail = 0
    for d in range(1, 5):
        for side in range(-1, 2):
            x = centre // SIZE + 2 * DX[d] + side * DY[d]
            y = centre % SIZE + 2 * DY[d] + side * DX[d]
            if x >= 0 and y >= 0 and x < size and y < size:
                seen[x * SIZE + y] = 1
                frontier[tail] = x * SIZE + y
                tail += 1
    head = 0
    count = 0
    connected = 0
    while head < tail and count <= limit:
        cell = int(frontier[head])
        head += 1
        if ice[cell] or ore[cell] or factory_at[cell] >= 0:
            continue
        if rubble[cell] and (robot_at[cell] < 0 or rubble[cell] > can_dig[robot_heavy[robot_at[cell]]]):
            continue
        rich = lichen[cell] >= spread
        own = strain[cell] == f
        stopped = False
        x = cell // SIZE
        y = cell % SIZE
        for d in range(1, 5):
            nx = x + DX[d]
            ny = y + DY[d]
            if nx < 0 or ny < 0 or nx >= size or ny >= size:
                continue
            near = nx * SIZE + ny
            grown = strain[near]
            if (factory_at[near] >= 0 and factory_at[near] != f) or (strict and grown >= 0 and grown != f):
                stopped = True
            if not seen[near] and ((rich and grown < 0) or (own and grown == f)):
                seen[near] = 1
                frontier[tail] = near
                tail += 1
        if own or not stopped:
            count += 1
            if own:
                connected += 1
    return count, connected


@jit
def growth_bound(game, rules, f, limit):
    """Tiles that watering by factory `f` this turn could cost at most, counted up to `limit` + 1.

    The flood fill on the present board, with everything that can still happen before it in this turn decided the
    expensive way: robots dig away what rubble they can, and no foreign lichen stands in the way of a tile that is
    reached (a robot may die on it). Lichen only shrinks before the fill, so spreading cannot reach farther.
    """
    size, spread, centre = int(rules.map_size), int(rules.min_lichen_to_spread), int(game.factory_cell[f])
    rubble, ice, ore, lichen, strain = game.rubble, game.ice, game.ore, game.lichen, game.strain
    robots = game.robot_at, game.robot_heavy, rules.dig_rubble_removed
    return flood(f, centre, size, spread, rubble, ice, ore, lichen, strain, game.factory_at, *robots, False, limit)[0]


@jit
def can_grow(game, rules, f):
    """Whether there is a tile that watering by factory `f` adds lichen to, on the board as it is."""
    size, spread, centre = int(rules.map_size), int(rules.min_lichen_to_spread), int(game.factory_cell[f])
    rubble, ice, ore, lichen, strain = game.rubble, game.ice, game.ore, game.lichen, game.strain
    robots = game.robot_at, game.robot_heavy, np.zeros(2, np.int64)  # nobody has dug yet
    return flood(f, centre, size, spread, rubble, ice, ore, lichen, strain, game.factory_at, *robots, True, 0)[0] > 0


@jit
def may_water(game, rules, reserve, f):
    """Whether watering by factory `f` is executed this turn, does something, and leaves the reserve."""
    water = int(game.factory_cargo[f, WATER_STOCK])
    factor = int(rules.lichen_watering_cost_factor)
    if (int(game.factory_grow[f]) + factor - 1) // factor > water:
        return False
    # what the factory will drink until the end is reserve enough
    kept = min(reserve, (int(rules.max_episode_length) - int(game.real_step)) * int(rules.factory_water_consumption))
    if water <= kept:
        return False
    limit = (water - kept) * factor
    return growth_bound(game, rules, f, limit) <= limit and can_grow(game, rules, f)


@jit
def count_robots(game, player, built):
    """Living robots of a side by kind and home: fills `built [2, 2 * MAX_FACTORIES]` and returns (lights, heavies)."""
    alive, heavy, home = game.robot_alive, game.robot_heavy, game.robot_home
    built[:] = 0
    lights = 0
    heavies = 0
    for r in range(player * MAX_ROBOTS, player * MAX_ROBOTS + game.robot_slots[player]):
        if alive[r]:
            if heavy[r]:
                heavies += 1
                built[1, home[r]] += 1
            else:
                lights += 1
                built[0, home[r]] += 1
    return lights, heavies


@jit
def factory_mask(game, rules, action_rules, player, f, lights, heavies, built):
    """The mask of factory `f`; `lights`, `heavies` and `built` are the side's robots as `count_robots` gives them."""
    kinds = action_rules.kinds
    mask = 1 << WAIT
    if game.robot_at[game.factory_cell[f]] < 0 and lights + heavies + MAX_FACTORIES <= MAX_ROBOTS:
        metal = game.factory_cargo[f, METAL_STOCK]
        power = game.factory_power[f]
        for heavy in range(2):
            alive = heavies if heavy else lights
            if (
                kinds >> (BUILD_LIGHT + heavy) & 1
                and metal >= rules.metal_cost[heavy]
                and power >= rules.power_cost[heavy]
                and alive < action_rules.side_limit[heavy]
                and built[heavy, f] < action_rules.factory_limit[heavy]
            ):
                mask |= 1 << (BUILD_LIGHT + heavy)
    if kinds >> WATER & 1 and may_water(game, rules, int(action_rules.water_reserve), f):
        mask |= 1 << WATER
    return mask


@jit
def move_bits(game, rules, action_rules, player, cell, heavy, power, spend, front):
    """Legal moves; `spend` is the power left after a rewrite, `front` the direction of a move in front of the queue or -1."""
    rubble, factory_at, robot_at = game.rubble, game.factory_at, game.robot_at
    size = int(rules.map_size)
    cost = rules.move_cost_at[heavy]
    avoid = action_rules.avoid_friends
    first = player * MAX_ROBOTS
    x = cell // SIZE
    y = cell % SIZE
    mask = 0
    for d in range(1, 5):
        nx = x + DX[d]
        ny = y + DY[d]
        if nx < 0 or ny < 0 or nx >= size or ny >= size:
            continue
        near = nx * SIZE + ny
        need = cost[rubble[near]]
        if need > spend and (front != d or need > power):
            continue
        factory = factory_at[near]
        if factory >= 0 and (game.factory_owner[factory] != player or game.factory_cell[factory] == near):
            continue
        if avoid and first <= robot_at[near] < first + MAX_ROBOTS:
            continue
        mask |= 1 << (MOVE_BIT + d)
    if mask:
        mask |= 1 << MOVE
    return mask


@jit
def transfer_bits(game, rules, action_rules, player, r, cell, spend, front):
    """Legal transfers; `front` is direction * 5 + resource of a transfer in front of the queue or -1."""
    factory_at, robot_at, cargo = game.factory_at, game.robot_at, game.robot_cargo
    offered = int(action_rules.transfer)
    size = int(rules.map_size)
    held = 0
    for resource in range(4):
        if offered >> resource & 1 and cargo[r, resource] > 0:
            held |= 1 << resource
    if offered >> POWER & 1 and spend > 0:
        held |= 1 << POWER
    mask = 0
    if held == 0:
        return mask
    x = cell // SIZE
    y = cell % SIZE
    for d in range(5):
        nx = x + DX[d]
        ny = y + DY[d]
        if nx < 0 or ny < 0 or nx >= size or ny >= size:
            continue
        near = nx * SIZE + ny
        factory = factory_at[near]
        taker = int(robot_at[near])
        if factory >= 0 and game.factory_owner[factory] == player:
            taker = -1
        elif d == 0 or not action_rules.transfer_to_robots or taker < 0 or taker // MAX_ROBOTS != player:
            continue
        for resource in range(5):
            if not held >> resource & 1 or (spend < 0 and front != d * 5 + resource):
                continue
            if taker >= 0:
                heavy = game.robot_heavy[taker]
                full = (
                    game.robot_power[taker] >= rules.battery_capacity[heavy]
                    if resource == POWER
                    else cargo[taker, resource] >= rules.cargo_space[heavy]
                )
                if full:
                    continue
            mask |= 1 << (TRANSFER_BIT + d * 5 + resource)
    if mask:
        mask |= 1 << TRANSFER
    return mask


@jit
def pickup_pays(game, rules, r, heavy, factory, cost):
    """Whether robot `r`, which pays `cost` for the order, can have more power after a pickup from `factory` than after waiting."""
    full, power = int(rules.battery_capacity[heavy]), int(game.robot_power[r])
    day = game.real_step % rules.cycle_length < rules.day_length
    charge = int(rules.charge[heavy]) if day else 0
    taken = min(int(game.factory_power[factory]), full - power + cost)
    return min(power - cost + taken + charge, full) > min(power + charge, full)


@jit
def pickup_bits(game, rules, action_rules, r, heavy, factory, spend, front):
    """Legal pickups from `factory`; `front` is the resource of a pickup in front of the queue or -1."""
    mask = 0
    offered = int(action_rules.pickup)
    for resource in range(5):
        if not offered >> resource & 1 or (spend < 0 and front != resource):
            continue
        if resource == POWER:
            cost = 0 if front == resource else int(rules.action_queue_power_cost[heavy])
            legal = pickup_pays(game, rules, r, heavy, factory, cost)
        else:
            legal = game.factory_cargo[factory, resource] > 0 and game.robot_cargo[r, resource] < rules.cargo_space[heavy]
        if legal:
            mask |= 1 << (PICKUP_BIT + resource)
    if mask:
        mask |= 1 << PICKUP
    return mask


@jit
def wall_distance(cell, centre):
    """Steps from a cell to the nearest of the nine cells of a factory; 0 on them."""
    dx = abs(cell // SIZE - centre // SIZE) - 1
    dy = abs(cell % SIZE - centre % SIZE) - 1
    return max(dx, 0) + max(dy, 0)


@jit
def dig_pays(game, rules, action_rules, player, r, cell, heavy):
    """Whether digging here is offered and of use: ice or ore that fits, rubble near an own factory, lichen of the enemy."""
    offered = action_rules.light_dig & action_rules.dig if not heavy else action_rules.dig
    home = int(game.robot_home[r])
    if heavy and game.factory_alive[home] and game.factory_cargo[home, WATER_STOCK] < action_rules.ice_first:
        offered &= 1 << DIG_ICE
    if game.ice[cell]:
        return offered >> DIG_ICE & 1 != 0 and game.robot_cargo[r, 0] < rules.cargo_space[heavy]
    if game.ore[cell] and offered >> DIG_ORE & 1 and game.robot_cargo[r, 1] < rules.cargo_space[heavy]:
        return True
    if game.rubble[cell] == 0:
        strain = game.strain[cell]
        return offered >> DIG_LICHEN & 1 != 0 and strain >= 0 and game.factory_owner[strain] != player
    if offered >> DIG_RUBBLE & 1:
        for f in range(game.factory_count):
            if game.factory_alive[f] and game.factory_owner[f] == player:
                if wall_distance(cell, int(game.factory_cell[f])) <= action_rules.rubble_distance:
                    return True
    return False


@jit
def way_home(game, rules, player, cell, heavy):
    """Power for walking to the nearest own factory, first along x, then along y, over today's rubble; 0 without a factory."""
    nearest = -1
    least = 1 << 30
    for f in range(game.factory_count):
        if game.factory_alive[f] and game.factory_owner[f] == player:
            distance = wall_distance(cell, int(game.factory_cell[f]))
            if distance < least:
                least = distance
                nearest = int(game.factory_cell[f])
    if nearest < 0:
        return 0
    rubble = game.rubble
    cost = rules.move_cost_at[heavy]
    x = cell // SIZE
    y = cell % SIZE
    power = 0
    while least > 0:
        if abs(x - nearest // SIZE) > 1:
            x += 1 if nearest // SIZE > x else -1
        else:
            y += 1 if nearest % SIZE > y else -1
        power += int(cost[rubble[x * SIZE + y]])
        least -= 1
    return power


@jit
def robot_mask(game, rules, action_rules, player, r):
    """The mask of robot `r`."""
    cell = int(game.robot_cell[r])
    heavy = int(game.robot_heavy[r])
    power = int(game.robot_power[r])
    kinds = int(action_rules.kinds)
    spend = power - int(rules.action_queue_power_cost[heavy])
    kind = -1
    direction = 0
    resource = 0
    if game.queue_len[r] > 0:
        front = game.queue[r, 0]
        kind = int(front[0]) + 1
        direction = int(front[1])
        resource = int(front[2])
    mask = 1 << WAIT
    if kinds >> MOVE & 1:
        mask |= move_bits(game, rules, action_rules, player, cell, heavy, power, spend, direction if kind == MOVE else -1)
    if kinds >> TRANSFER & 1:
        same = direction * 5 + resource if kind == TRANSFER else -1
        mask |= transfer_bits(game, rules, action_rules, player, r, cell, spend, same)
    factory = game.factory_at[cell]
    if factory >= 0:
        if kinds >> PICKUP & 1:
            mask |= pickup_bits(game, rules, action_rules, r, heavy, factory, spend, resource if kind == PICKUP else -1)
    elif kinds >> DIG & 1:
        cost = int(rules.dig_cost[heavy])
        if (cost <= spend or (kind == DIG and cost <= power)) and dig_pays(game, rules, action_rules, player, r, cell, heavy):
            # the walk home begins with an order to go, and ends with two more to hand over and take power
            orders = 3 * int(rules.action_queue_power_cost[heavy])
            if not action_rules.keep_way_home or power - cost >= orders + way_home(game, rules, player, cell, heavy):
                mask |= 1 << DIG
    if kinds >> SELF_DESTRUCT & 1:
        cost = int(rules.self_destruct_cost[heavy])
        if cost <= spend or (kind == SELF_DESTRUCT and cost <= power):
            mask |= 1 << SELF_DESTRUCT
    if kinds >> RECHARGE & 1 and power < rules.battery_capacity[heavy] and (spend >= 0 or kind == RECHARGE):
        mask |= 1 << RECHARGE
    return mask


@jit
def write_masks(game, rules, action_rules, player, slot, mask):
    """Masks of the rows of one side: `slot [m]` to `mask [m] int64`."""
    built = np.zeros((2, 2 * MAX_FACTORIES), np.int32)
    lights, heavies = count_robots(game, player, built)
    for i in range(len(slot)):
        if slot[i] < MAX_FACTORIES:
            f = factory_number(game, player, slot[i])
            mask[i] = factory_mask(game, rules, action_rules, player, f, lights, heavies, built)
        else:
            r = player * MAX_ROBOTS + int(slot[i]) - MAX_FACTORIES
            mask[i] = robot_mask(game, rules, action_rules, player, r)
