"""Action queues: taking new ones in, choosing and validating what everybody does this turn, and moving queues on."""

from __future__ import annotations

from engine.config import MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import (
    BUILD_HEAVY,
    BUILD_LIGHT,
    DIG,
    ENTRY,
    MOVE,
    NO_ACTION,
    PICKUP,
    RECHARGE,
    SELF_DESTRUCT,
    TRANSFER,
    WATER_LICHEN,
)


@jit
def step_cell(cell, direction, map_size):
    """The cell one step away, or -1 off the map."""
    x, y = cell // SIZE, cell % SIZE
    if direction == 1:
        y -= 1
    elif direction == 2:
        x += 1
    elif direction == 3:
        y += 1
    elif direction == 4:
        x -= 1
    if x < 0 or y < 0 or x >= map_size or y >= map_size:
        return -1
    return x * SIZE + y


@jit
def begin_turn(game):
    """Forget the last turn's events and deaths."""
    for player in range(2):
        used = 0
        for slot in range(game.robot_slots[player]):
            r = player * MAX_ROBOTS + slot
            if game.robot_alive[r] or game.robot_died[r]:
                game.robot_died[r] = 0
                for e in range(game.robot_event.shape[1]):
                    game.robot_event[r, e] = 0
                if game.robot_alive[r]:
                    used = slot + 1
        game.robot_slots[player] = used
    for f in range(game.factory_count):
        for e in range(game.factory_event.shape[1]):
            game.factory_event[f, e] = 0


@jit
def take_orders(game, rules, orders, factory_action):
    """Put new queues in place for their price and copy the factories' actions; empties the orders.

    A robot that cannot pay for the update keeps its old queue, as in the official engine.
    """
    for player in range(2):
        for i in range(game.robot_count[player]):
            r = game.robot_order[player, i]
            length = orders.queue_len[r]
            if length < 0:
                continue
            orders.queue_len[r] = -1
            cost = rules.action_queue_power_cost[game.robot_heavy[r]]
            if game.robot_power[r] < cost:
                continue
            game.robot_power[r] -= cost
            length = min(length, rules.unit_action_queue_size)
            game.queue_len[r] = length
            for k in range(length):
                kind = orders.queue[r, k, 0]
                for j in range(ENTRY):
                    game.queue[r, k, j] = orders.queue[r, k, j]
                # fields that a kind does not use are stored as zero
                if kind != MOVE and kind != TRANSFER:
                    game.queue[r, k, 1] = 0
                if kind != TRANSFER and kind != PICKUP:
                    game.queue[r, k, 2] = 0
                if kind == MOVE or kind == DIG or kind == SELF_DESTRUCT:
                    game.queue[r, k, 3] = 0
    for f in range(game.factory_count):
        factory_action[f] = orders.factory[f]
        orders.factory[f] = NO_ACTION


@jit
def robot_can(game, rules, player, r, entry_kind, direction, resource):
    """Whether the official engine executes this action of robot `r`, judged by the start of the turn."""
    cell = game.robot_cell[r]
    heavy = game.robot_heavy[r]
    power = game.robot_power[r]
    if entry_kind == MOVE or entry_kind == TRANSFER:
        target = step_cell(cell, direction, rules.map_size)
        if target < 0:
            return False
        if entry_kind == TRANSFER:
            return 0 <= resource <= 4
        factory = game.factory_at[target]
        if factory >= 0 and game.factory_owner[factory] != player:
            return False
        return direction == 0 or rules.move_cost_at[heavy, game.rubble[target]] <= power
    if entry_kind == DIG:
        return rules.dig_cost[heavy] <= power and game.factory_at[cell] < 0
    if entry_kind == PICKUP:
        return game.factory_at[cell] >= 0
    if entry_kind == SELF_DESTRUCT:
        return rules.self_destruct_cost[heavy] <= power
    return entry_kind == RECHARGE


@jit
def water_cost(grow_tiles, rules):
    """Water that growing on this many tiles costs."""
    return (grow_tiles + rules.lichen_watering_cost_factor - 1) // rules.lichen_watering_cost_factor


@jit
def factory_can(game, rules, f, action):
    """Whether factory `f` may do this, judged by the start of the turn (for water: by the last turn's growth)."""
    if not game.factory_alive[f]:
        return False
    if action == BUILD_LIGHT or action == BUILD_HEAVY:
        heavy = action - BUILD_LIGHT
        return game.factory_cargo[f, 3] >= rules.metal_cost[heavy] and game.factory_power[f] >= rules.power_cost[heavy]
    if action == WATER_LICHEN:
        return water_cost(game.factory_grow[f], rules) <= game.factory_cargo[f, 2]
    return False


@jit
def collect(game, rules, actors, robot_action, move_cost, factory_action):
    """List the robots that act this turn, in the order of the turn, and drop what is invalid.

    Fills `actors [ROBOTS]` with robot indices, `robot_action [ROBOTS]` with their valid kind and `move_cost [ROBOTS]`
    with the price of a move, which goes by the rubble before this turn's digs; returns the number of actors.
    A side that failed does nothing.
    """
    count = 0
    for player in range(2):
        if game.failed[player]:
            continue
        for i in range(game.robot_count[player]):
            r = game.robot_order[player, i]
            if game.queue_len[r] == 0:
                continue
            kind = game.queue[r, 0, 0]
            if robot_can(game, rules, player, r, kind, game.queue[r, 0, 1], game.queue[r, 0, 2]):
                actors[count] = r
                robot_action[r] = kind
                count += 1
                if kind == MOVE:
                    target = step_cell(game.robot_cell[r], game.queue[r, 0, 1], rules.map_size)
                    move_cost[r] = rules.move_cost_at[game.robot_heavy[r], game.rubble[target]]
    for f in range(game.factory_count):
        if factory_action[f] != NO_ACTION:
            if game.failed[game.factory_owner[f]] or not factory_can(game, rules, f, factory_action[f]):
                factory_action[f] = NO_ACTION
    return count


@jit
def advance_queue(game, r):
    """One execution of the front entry is used up; a spent entry leaves or goes to the back."""
    game.queue[r, 0, 5] -= 1
    if game.queue[r, 0, 5] > 0:
        return
    kind, direction, resource = game.queue[r, 0, 0], game.queue[r, 0, 1], game.queue[r, 0, 2]
    amount, repeat = game.queue[r, 0, 3], game.queue[r, 0, 4]
    last = game.queue_len[r] - 1
    for k in range(last):
        for j in range(ENTRY):
            game.queue[r, k, j] = game.queue[r, k + 1, j]
    if repeat > 0:
        game.queue[r, last, 0] = kind
        game.queue[r, last, 1] = direction
        game.queue[r, last, 2] = resource
        game.queue[r, last, 3] = amount
        game.queue[r, last, 4] = repeat
        game.queue[r, last, 5] = repeat
    else:
        game.queue_len[r] = last


@jit
def recharge(game, actors, count, robot_action):
    """A recharge ends once the battery holds the asked amount; until then it stays in front."""
    for i in range(count):
        r = actors[i]
        if robot_action[r] == RECHARGE and game.robot_power[r] >= game.queue[r, 0, 3]:
            advance_queue(game, r)


@jit
def end_turn(game):
    """Drop the dead from the order in which robots act."""
    for player in range(2):
        kept = 0
        for i in range(game.robot_count[player]):
            r = game.robot_order[player, i]
            if game.robot_alive[r]:
                game.robot_order[player, kept] = r
                kept += 1
        game.robot_count[player] = kept
