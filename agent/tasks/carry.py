"""Water from factories that have much to those that need it: a heavy robot's hold is the water of four loads of ice."""

from __future__ import annotations

import numpy as np

from agent.tasks.memory import CARRY_TASK, assign
from agent.tasks.trips import SPARE, give, put, put_steps
from agent.tasks.ways import find_way
from engine.config import CELLS, MAX_ROBOTS
from engine.jit import jit
from engine.state import ICE, PICKUP, TRANSFER, WATER
from wrappers.routes import NO_WAY

KEPT = 60  # water that a factory does not give away
LEAST_LOAD = 40  # water that is carried at the least


@jit
def water_need(game, rules, home):
    """Water a turn that the factory drinks and could give to its lichen."""
    return 1.0 + int(game.factory_grow[home]) / 10.0


@jit
def stock(game, memory, player, f):
    """Water of a factory, its ice made water, and what is carried there."""
    water = int(game.factory_cargo[f, WATER]) + int(game.factory_cargo[f, ICE]) // 4
    for r in range(player * MAX_ROBOTS, player * MAX_ROBOTS + int(game.robot_slots[player])):
        if game.robot_alive[r] and memory.task[r] == CARRY_TASK and memory.target[r] == game.factory_cell[f]:
            water += max(int(game.robot_cargo[r, WATER]), int(memory.load[r]))
    return water


@jit
def neediest(game, rules, static, memory, turn, player, home, most):
    """The own factory with the shortest supply of water, and how much of that of `home` would make both last as long; (-1, 0) if none."""
    best = -1
    shortest = 1e9
    for f in range(game.factory_count):
        if f == home or not game.factory_alive[f] or game.factory_owner[f] != player:
            continue
        if static.home_price[f, game.factory_cell[home] + 1] >= NO_WAY:
            continue
        lasts = stock(game, memory, player, f) / water_need(game, rules, f)
        if lasts < shortest:
            best, shortest = f, lasts
    if best < 0:
        return -1, 0
    need = water_need(game, rules, home)
    other = water_need(game, rules, best)
    own = int(game.factory_cargo[home, WATER])
    amount = int((own - shortest * need) / (1.0 + need / other))
    return best, min(min(amount, own - KEPT), most)


@jit
def try_carry(game, rules, static, memory, turn, r, factory, left, now, queue, length, power, least, orders):
    """Compile the way to the factory that needs water most, with water for it, from the own `factory` where robot `r` stands; whether
    there are `least` to carry, and so ordered."""
    player = r // MAX_ROBOTS
    heavy = int(game.robot_heavy[r])
    goal, amount = neediest(game, rules, static, memory, turn, player, factory, int(rules.cargo_space[heavy]))
    if goal < 0 or amount < least:
        return False
    steps = np.zeros(CELLS, np.int8)
    cell = int(game.robot_cell[r])
    out, cost = find_way(game, rules, turn, r, cell, int(game.factory_cell[goal]), True, steps)
    if out <= 0 or out + 5 > left or 2 * cost + SPARE[heavy] > power:
        return False
    length = put(queue, length, PICKUP, 0, WATER, amount, 1)
    assign(game, memory, turn, r, CARRY_TASK, int(game.factory_cell[goal]))
    memory.load[r] = amount
    length = put_steps(queue, length, steps, out)
    length = put(queue, length, TRANSFER, 0, WATER, amount, 1)
    give(game, rules, memory, r, now, queue, length, orders)
    return True


@jit
def go_on_carrying(game, rules, memory, turn, r, now, queue, orders):
    """Order the rest of a carrier's way; whether it still carries, its goal stands and there is a way."""
    amount = int(game.robot_cargo[r, WATER])
    goal = int(memory.target[r])
    if amount == 0 or goal < 0 or game.factory_at[goal] < 0:
        return False
    steps = np.zeros(CELLS, np.int8)
    out, _ = find_way(game, rules, turn, r, int(game.robot_cell[r]), goal, True, steps)
    if out <= 0:
        return False
    length = put_steps(queue, 0, steps, out)
    give(game, rules, memory, r, now, queue, put(queue, length, TRANSFER, 0, WATER, amount, 1), orders)
    return True
