"""Walks: where it is safe to step, and the cheapest way from cell to cell."""

from __future__ import annotations

import heapq

import numpy as np

from agent.tasks.threats import is_dangerous
from engine.config import CELLS, MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import DX, DY, MOVE
from wrappers.routes import NO_WAY


@jit
def is_moving(game, r):
    """Whether the robot's queue moves it on."""
    return game.queue_len[r] > 0 and game.queue[r, 0, 0] == MOVE and game.queue[r, 0, 1] != 0


@jit
def is_open(game, turn, player, r, heavy, cell, beside):
    """Whether a walk of robot `r` may lead over a cell; `beside`: as its very next step, where who moves on is still there."""
    factory = game.factory_at[cell]
    if factory >= 0 and (game.factory_owner[factory] != player or game.factory_cell[factory] == cell):
        return False
    if is_dangerous(game, turn, r, cell):
        return False
    other = int(game.robot_at[cell])
    if other >= 0 and other != r and other // MAX_ROBOTS == player:
        return not beside and is_moving(game, other)
    return True


@jit
def steps_left(cell, goal, walls):
    """The fewest steps from a cell to the cell `goal`, or to a wall of the factory whose centre it is."""
    dx = abs(cell // SIZE - goal // SIZE)
    dy = abs(cell % SIZE - goal % SIZE)
    return max(dx - 1, 0) + max(dy - 1, 0) if walls else dx + dy


@jit
def find_way(game, rules, turn, r, start, goal, walls, steps):
    """The cheapest way of robot `r` by A* from `start` to the cell `goal`, or (`walls`) to any wall of the factory whose centre it is.

    Writes directions to `steps` and returns (how many, their power); (-1, 0) if there is none. It goes round whoever stands still.
    """
    player = r // MAX_ROBOTS
    heavy = int(game.robot_heavy[r])
    size = int(rules.map_size)
    flat = int(rules.move_cost_at[heavy, 0])
    price = np.full(CELLS, NO_WAY, np.int32)
    came = np.zeros(CELLS, np.int8)
    here = int(game.robot_cell[r])
    price[start] = 0
    heap = [flat * steps_left(start, goal, walls) * CELLS + start]
    found = -1
    while len(heap) > 0:
        entry = heapq.heappop(heap)
        cell = entry % CELLS
        if cell == goal or walls and steps_left(cell, goal, walls) == 0:
            found = cell
            break
        x = cell // SIZE
        y = cell % SIZE
        cost = int(price[cell])
        if entry // CELLS > cost + flat * steps_left(cell, goal, walls):
            continue
        for d in range(1, 5):
            nx = x + DX[d]
            ny = y + DY[d]
            if nx < 0 or ny < 0 or nx >= size or ny >= size:
                continue
            near = nx * SIZE + ny
            total = cost + int(rules.move_cost_at[heavy, game.rubble[near]])
            if total >= price[near] or not is_open(game, turn, player, r, heavy, near, cell == here and start == here):
                continue
            price[near] = total
            came[near] = d
            heapq.heappush(heap, (total + flat * steps_left(near, goal, walls)) * CELLS + near)
    if found < 0:
        return -1, 0
    count = 0
    cell = found
    while cell != start:
        d = int(came[cell])
        steps[count] = d
        count += 1
        cell -= DX[d] * SIZE + DY[d]
    for i in range(count // 2):
        steps[i], steps[count - 1 - i] = steps[count - 1 - i], steps[i]
    return count, int(price[found])
