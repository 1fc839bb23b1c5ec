"""Building, moving and colliding."""

from __future__ import annotations

import math

from engine.config import MAX_ROBOTS
from engine.ground import destroy_robot
from engine.jit import jit
from engine.queues import advance_queue, step_cell
from engine.state import BUILD_HEAVY, BUILD_LIGHT, HEAVIES_BUILT, LIGHTS_BUILT, METAL, MOVE


@jit
def free_slot(game, player):
    """The lowest slot that held nobody at the start of this turn or since, or -1."""
    for slot in range(MAX_ROBOTS):
        r = player * MAX_ROBOTS + slot
        if not game.robot_alive[r] and not game.robot_died[r]:
            return slot
    return -1


@jit
def build(game, rules, factory_action, newborn):
    """New robots on their factories' centres, not yet on `robot_at`; fills `newborn` and returns their number.

    Orders were valid at the start of the turn and nothing since then takes metal or power from a factory.
    """
    count = 0
    for player in range(2):
        for f in range(game.factory_count):
            action = factory_action[f]
            if game.factory_owner[f] != player or (action != BUILD_LIGHT and action != BUILD_HEAVY):
                continue
            heavy = action - BUILD_LIGHT
            slot = free_slot(game, player)
            if slot < 0:
                game.robots_refused[player] += 1
                continue
            game.factory_cargo[f, METAL] -= rules.metal_cost[heavy]
            game.factory_power[f] -= rules.power_cost[heavy]
            event = HEAVIES_BUILT if heavy else LIGHTS_BUILT
            game.factory_event[f, event] += 1
            game.factory_total[player, event] += 1
            r = player * MAX_ROBOTS + slot
            game.robot_alive[r] = 1
            game.robot_heavy[r] = heavy
            game.robot_id[r] = game.next_id
            game.robot_home[r] = f
            game.robot_cell[r] = game.factory_cell[f]
            game.robot_power[r] = rules.init_power[heavy]
            for resource in range(4):
                game.robot_cargo[r, resource] = 0
            for e in range(game.robot_event.shape[1]):
                game.robot_event[r, e] = 0
            game.queue_len[r] = 0
            game.robot_order[player, game.robot_count[player]] = r
            game.robot_count[player] += 1
            game.robot_slots[player] = max(game.robot_slots[player], slot + 1)
            game.next_id += 1
            newborn[count] = r
            count += 1
    return count


@jit
def move(game, rules, actors, count, robot_action, move_cost, movers):
    """Take the movers off their cells and charge them; fills `movers` in action order and returns their number."""
    moved = 0
    for i in range(count):
        r = actors[i]
        if robot_action[r] != MOVE:
            continue
        direction = game.queue[r, 0, 1]
        if direction != 0:
            cell = game.robot_cell[r]
            target = step_cell(cell, direction, rules.map_size)
            game.robot_at[cell] = -1
            game.robot_cell[r] = target
            game.robot_power[r] -= move_cost[r]
            movers[moved] = r
            moved += 1
        advance_queue(game, r)
    return moved


@jit
def top_two(game, crowd, size, heavy):
    """Strongest and second strongest of a kind, by the official search.

    When a new maximum replaces the old one, the stored second power stays as it was, so a weaker robot that comes
    later may end as "second"; the loss of the winner depends on it.
    """
    best, second = crowd[0], crowd[1]
    best_power, second_power = -1, -1
    for i in range(size):
        r = crowd[i]
        if game.robot_heavy[r] != heavy:
            continue
        power = game.robot_power[r]
        if power > best_power:
            second = best
            best, best_power = r, power
        elif power >= second_power:
            second, second_power = r, power
    return best, second


@jit
def survivor_of(game, rules, crowd, size, entered):
    """Who survives on a cell: `crowd[:entered]` moved there this turn, the rest stood or was built there; -1 if nobody."""
    heavies_entered = 0
    for i in range(entered):
        heavies_entered += game.robot_heavy[crowd[i]]
    kind = 1
    if heavies_entered == 0:
        standing = 0
        lone = -1
        for i in range(entered, size):
            if game.robot_heavy[crowd[i]]:
                standing += 1
                lone = crowd[i]
        if standing == 1:
            return lone
        # two heavies that stand here break each other, and only a light that enters can be left
        if entered == 0:
            return -1
        kind = 0
    if (kind == 1 and heavies_entered == 1) or (kind == 0 and entered == 1):
        for i in range(entered):
            if game.robot_heavy[crowd[i]] == kind:
                return crowd[i]
    best, second = top_two(game, crowd, size, kind)
    if game.robot_power[best] == game.robot_power[second]:
        return -1
    game.robot_power[best] -= int(math.ceil(game.robot_power[second] * rules.power_loss_factor))
    return best


@jit
def settle_cell(game, rules, cell, movers, moved, newborn, born, crowd):
    """Collide everybody on `cell` and write who is left to `robot_at`; returns whether somebody died."""
    size = 0
    for i in range(moved):
        if game.robot_cell[movers[i]] == cell:
            crowd[size] = movers[i]
            size += 1
    entered = size
    if game.robot_at[cell] >= 0:
        crowd[size] = game.robot_at[cell]
        size += 1
    for i in range(born):
        if game.robot_cell[newborn[i]] == cell:
            crowd[size] = newborn[i]
            size += 1
    survivor = crowd[0] if size == 1 else survivor_of(game, rules, crowd, size, entered)
    game.robot_at[cell] = survivor
    for i in range(size):
        if crowd[i] != survivor:
            destroy_robot(game, rules, crowd[i])
    return size > 1


@jit
def collide(game, rules, movers, moved, newborn, born, arrivals, crowd):
    """Put movers and newborn on the board, colliding where more than one robot ends.

    `arrivals [CELLS]` is all zero before and after.
    """
    for i in range(moved):
        arrivals[game.robot_cell[movers[i]]] += 1
    for i in range(born):
        arrivals[game.robot_cell[newborn[i]]] += 1
    any_death = False
    for k in range(moved + born):
        r = movers[k] if k < moved else newborn[k - moved]
        cell = game.robot_cell[r]
        if arrivals[cell] == 0:
            continue  # settled with an earlier arrival
        if arrivals[cell] == 1 and game.robot_at[cell] < 0:
            game.robot_at[cell] = r
        elif settle_cell(game, rules, cell, movers, moved, newborn, born, crowd):
            any_death = True
        arrivals[cell] = 0
    return any_death
