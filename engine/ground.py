"""What robots do to the ground and to themselves: digging, self-destruction, wrecks."""

from __future__ import annotations

from engine.config import MAX_ROBOTS
from engine.jit import jit
from engine.queues import advance_queue
from engine.state import (
    DIG,
    ICE,
    ICE_DUG,
    LICHEN_DUG,
    ORE,
    ORE_DUG,
    RUBBLE_DUG,
    SELF_DESTRUCT,
)


@jit
def count_robot(game, r, event, amount):
    """Book what robot `r` did."""
    game.robot_event[r, event] += amount
    game.robot_total[r // MAX_ROBOTS, event] += amount


@jit
def dig(game, rules, actors, count, robot_action):
    """Rubble first, then lichen, then ice, then ore; what exceeds the cargo is lost."""
    for i in range(count):
        r = actors[i]
        if robot_action[r] != DIG:
            continue
        cell = game.robot_cell[r]
        heavy = game.robot_heavy[r]
        if game.rubble[cell] > 0:
            before = int(game.rubble[cell])
            left = max(before - rules.dig_rubble_removed[heavy], 0)
            game.rubble[cell] = left
            if left == 0:
                game.fill_dirty = 1
            count_robot(game, r, RUBBLE_DUG, before - left)
        elif game.lichen[cell] > 0:
            before = int(game.lichen[cell])
            left = max(before - rules.dig_lichen_removed[heavy], 0)
            game.lichen[cell] = left
            if left == 0:
                # the official engine leaves as much rubble as one dig of a resource gains
                game.rubble[cell] = rules.dig_resource_gain[heavy]
            game.fill_dirty = 1
            if game.factory_owner[game.strain[cell]] != r // MAX_ROBOTS:
                count_robot(game, r, LICHEN_DUG, before - left)
        elif game.ice[cell] > 0:
            gained = min(rules.cargo_space[heavy] - game.robot_cargo[r, ICE], rules.dig_resource_gain[heavy])
            game.robot_cargo[r, ICE] += gained
            count_robot(game, r, ICE_DUG, gained)
        elif game.ore[cell] > 0:
            gained = min(rules.cargo_space[heavy] - game.robot_cargo[r, ORE], rules.dig_resource_gain[heavy])
            game.robot_cargo[r, ORE] += gained
            count_robot(game, r, ORE_DUG, gained)
        game.robot_power[r] -= rules.dig_cost[heavy]
        advance_queue(game, r)


@jit
def destroy_robot(game, rules, r):
    """A wreck: rubble on the cell, no lichen; the caller takes the robot off `robot_at`."""
    cell = game.robot_cell[r]
    rubble = int(game.rubble[cell]) + rules.rubble_after_destruction[game.robot_heavy[r]]
    game.rubble[cell] = min(rubble, rules.max_rubble)
    game.lichen[cell] = 0
    game.strain[cell] = -1
    game.robot_alive[r] = 0
    game.robot_died[r] = 1
    game.fill_dirty = 1


@jit
def self_destruct(game, rules, actors, count, robot_action):
    """Returns whether any robot did."""
    any_death = False
    for i in range(count):
        r = actors[i]
        if robot_action[r] == SELF_DESTRUCT:
            game.robot_at[game.robot_cell[r]] = -1
            destroy_robot(game, rules, r)
            any_death = True
    return any_death
