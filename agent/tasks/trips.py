"""Trips: a task compiled into a robot's action queue.

A trip from home is: hand over what is carried, charge, walk there, dig, walk back. Twenty entries may not hold it all; what
is left out is compiled when the queue has run out, from where the robot is then.
"""

from __future__ import annotations

from engine.config import MAX_ROBOTS, QUEUE
from engine.jit import jit
from engine.state import DIG, MOVE, PICKUP, POWER, TRANSFER

SPARE = (10, 140)  # power that a light, a heavy robot keeps back on a trip


@jit
def put(queue, length, kind, direction, resource, amount, times):
    """Add an entry to a queue `[QUEUE, 6]` of `length`, if there is room; returns the new length."""
    if length >= QUEUE:
        return length
    entry = queue[length]
    entry[0] = kind
    entry[1] = direction
    entry[2] = resource
    entry[3] = amount
    entry[4] = 0
    entry[5] = times
    return length + 1


@jit
def put_steps(queue, length, steps, count):
    """Add a walk, straight stretches as one entry each."""
    i = 0
    while i < count:
        j = i
        while j < count and steps[j] == steps[i]:
            j += 1
        length = put(queue, length, MOVE, int(steps[i]), 0, 0, j - i)
        i = j
    return length


@jit
def put_cargo(game, rules, queue, length, r):
    """Add handing over all cargo to the factory that the robot stands on."""
    space = int(rules.cargo_space[game.robot_heavy[r]])
    for resource in range(4):
        if game.robot_cargo[r, resource] > 0:
            length = put(queue, length, TRANSFER, 0, resource, space, 1)
    return length


@jit
def put_charge(turn, queue, length, factory, charge):
    """Add taking power, which is promised from then on."""
    if charge <= 0:
        return length
    turn.power[factory] -= charge
    return put(queue, length, PICKUP, 0, POWER, charge, 1)


@jit
def put_digs(queue, length, digs):
    """Add digging."""
    return put(queue, length, DIG, 0, 0, 0, digs) if digs > 0 else length


@jit
def give(game, rules, memory, r, now, queue, length, orders):
    """Order the queue, unless it is what the robot has, or cannot be paid; an empty one lets it stand where it is."""
    heavy = int(game.robot_heavy[r])
    times = 0
    for i in range(length):
        times += int(queue[i, 5])
    memory.back[r] = now + times
    if game.robot_power[r] < rules.action_queue_power_cost[heavy]:
        return
    if length == 0 and game.queue_len[r] == 0:
        return
    orders.queue_len[r] = length
    for i in range(length):
        orders.queue[r, i, :] = queue[i, :]


@jit
def standing_on(game, r):
    """The own factory that the robot stands on, or -1."""
    factory = int(game.factory_at[game.robot_cell[r]])
    if factory >= 0 and game.factory_owner[factory] == r // MAX_ROBOTS:
        return factory
    return -1
