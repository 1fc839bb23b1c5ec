"""Transfers, pickups, refining, thirst and power."""

from __future__ import annotations

from engine.config import MAX_ROBOTS, SIZE
from engine.ground import count_robot
from engine.jit import jit
from engine.queues import advance_queue, step_cell
from engine.state import (
    ICE,
    ICE_GIVEN,
    ICE_GOT,
    METAL,
    METAL_MADE,
    ORE,
    ORE_GIVEN,
    ORE_GOT,
    PICKUP,
    POWER,
    POWER_TAKEN,
    TRANSFER,
    WATER,
    WATER_MADE,
)


@jit
def robot_holds(game, r, resource):
    """How much of a resource robot `r` has."""
    return game.robot_power[r] if resource == POWER else game.robot_cargo[r, resource]


@jit
def add_to_robot(game, rules, r, resource, amount):
    """Add what fits; returns how much that was. The rest is lost."""
    heavy = game.robot_heavy[r]
    if resource == POWER:
        fits = min(rules.battery_capacity[heavy] - game.robot_power[r], amount)
        game.robot_power[r] += fits
    else:
        fits = min(rules.cargo_space[heavy] - game.robot_cargo[r, resource], amount)
        game.robot_cargo[r, resource] += fits
    return fits


@jit
def give(game, rules, r, amount):
    """Add `amount` of robot `r`'s front transfer to whoever stands there: an own factory, else any robot, else nobody."""
    player = r // MAX_ROBOTS
    resource = game.queue[r, 0, 2]
    target = step_cell(game.robot_cell[r], game.queue[r, 0, 1], rules.map_size)
    f = game.factory_at[target]
    if f >= 0 and game.factory_owner[f] == player:
        if resource == POWER:
            game.factory_power[f] += amount
        else:
            game.factory_cargo[f, resource] += amount
        if resource == ICE:
            count_robot(game, r, ICE_GIVEN, amount)
            game.factory_event[f, ICE_GOT] += amount
            game.factory_total[player, ICE_GOT] += amount
        elif resource == ORE:
            count_robot(game, r, ORE_GIVEN, amount)
            game.factory_event[f, ORE_GOT] += amount
            game.factory_total[player, ORE_GOT] += amount
    elif game.robot_at[target] >= 0:
        add_to_robot(game, rules, game.robot_at[target], resource, amount)


@jit
def transfer(game, rules, actors, count, robot_action, amounts):
    """All subtractions come before all additions; robots that died this turn still give. `amounts [ROBOTS]` is scratch."""
    for i in range(count):
        r = actors[i]
        if robot_action[r] == TRANSFER:
            resource = game.queue[r, 0, 2]
            amount = min(robot_holds(game, r, resource), int(game.queue[r, 0, 3]))
            amounts[r] = amount
            if resource == POWER:
                game.robot_power[r] -= amount
            else:
                game.robot_cargo[r, resource] -= amount
    for i in range(count):
        r = actors[i]
        if robot_action[r] == TRANSFER:
            give(game, rules, r, amounts[r])
            advance_queue(game, r)


@jit
def pickup(game, rules, actors, count, robot_action):
    """One robot after the other; what exceeds its room is lost."""
    for i in range(count):
        r = actors[i]
        if robot_action[r] != PICKUP:
            continue
        f = game.factory_at[game.robot_cell[r]]
        resource = game.queue[r, 0, 2]
        stock = game.factory_power[f] if resource == POWER else game.factory_cargo[f, resource]
        amount = min(stock, int(game.queue[r, 0, 3]))
        if resource == POWER:
            game.factory_power[f] -= amount
        else:
            game.factory_cargo[f, resource] -= amount
        taken = add_to_robot(game, rules, r, resource, amount)
        if resource == POWER:
            count_robot(game, r, POWER_TAKEN, taken)
        advance_queue(game, r)


@jit
def destroy_factory(game, rules, f):
    """Rubble on its nine cells; its robots and its lichen stay."""
    centre = game.factory_cell[f]
    for dx in range(-1, 2):
        for dy in range(-1, 2):
            cell = centre + dx * SIZE + dy
            rubble = int(game.rubble[cell]) + rules.factory_rubble_after_destruction
            game.rubble[cell] = min(rubble, rules.max_rubble)
            game.factory_at[cell] = -1
    game.factory_alive[f] = 0
    game.fill_dirty = 1


@jit
def refine_and_drink(game, rules):
    """Whole blocks of ice become water and of ore metal; a factory without water to drink dies."""
    for f in range(game.factory_count):
        if not game.factory_alive[f]:
            continue
        owner = game.factory_owner[f]
        made_water = min(game.factory_cargo[f, ICE], rules.factory_processing_rate_water) // rules.ice_water_ratio
        made_metal = min(game.factory_cargo[f, ORE], rules.factory_processing_rate_metal) // rules.ore_metal_ratio
        game.factory_cargo[f, ICE] -= made_water * rules.ice_water_ratio
        game.factory_cargo[f, ORE] -= made_metal * rules.ore_metal_ratio
        game.factory_cargo[f, WATER] += made_water
        game.factory_cargo[f, METAL] += made_metal
        game.factory_event[f, WATER_MADE] += made_water
        game.factory_event[f, METAL_MADE] += made_metal
        game.factory_total[owner, WATER_MADE] += made_water
        game.factory_total[owner, METAL_MADE] += made_metal
        game.factory_cargo[f, WATER] -= rules.factory_water_consumption
        if game.factory_cargo[f, WATER] < 0:
            destroy_factory(game, rules, f)


@jit
def gain_power(game, rules):
    """Robots charge by day; factories always, and more for lichen that was connected this turn."""
    if game.real_step % rules.cycle_length < rules.day_length:
        for player in range(2):
            for i in range(game.robot_count[player]):
                r = game.robot_order[player, i]
                heavy = game.robot_heavy[r]
                game.robot_power[r] = min(game.robot_power[r] + rules.charge[heavy], rules.battery_capacity[heavy])
    for f in range(game.factory_count):
        if game.factory_alive[f]:
            lichen = game.factory_connected[f] * rules.power_per_connected_lichen_tile
            game.factory_power[f] += rules.factory_charge + lichen


@jit
def clear_factory_ground(game):
    """No rubble lies under a living factory at the end of a turn."""
    for f in range(game.factory_count):
        if game.factory_alive[f]:
            for dx in range(-1, 2):
                for dy in range(-1, 2):
                    game.rubble[game.factory_cell[f] + dx * SIZE + dy] = 0
