"""What robots are pointed at: the nearest factory, free ice and ore, the rubble to clear next, and the ways there.

Written for one robot at a time, like `wrappers.features`, of which these are a part. Functions that write a run of numbers into `row`
from position `k` on have the run's names beside them.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from engine.config import CELLS, MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import DX, DY
from wrappers.action import DIG_RUBBLE
from wrappers.masks import wall_distance
from wrappers.routes import CLEAR, NO_WAY, STEP


def numbered(*names: str) -> Any:
    """The positions of a run's numbers by their names: `row[k + RUN.name]`."""
    return namedtuple("Numbered", names)(*range(len(names)))


TARGET = numbered("side_x", "side_y", "dx", "dy", "distance", "closeness", "at", "adjacent")
STEPS = numbered("up", "right", "down", "left")  # by direction, as `DX` and `DY` from 1 on
WAY = numbered("up", "right", "down", "left", "length", "power_after")
WORK_REACH = 10  # steps from the walls of a factory up to which rubble is pointed at
MAX_WORK = 12 * WORK_REACH + 2 * WORK_REACH * (WORK_REACH - 1)  # cells that near
GROUND_REACH = WORK_REACH + 4  # steps from the walls up to which open ground counts
FAR_FROM_WALLS, OPENS, FAR_FROM_ROBOT = 3, 15, 2  # in units of rubble: a step from the walls, a tile of open ground behind, a step to walk


@jit
def list_rubble(game, rules, action_rules, f, cells):
    """`list_work` as far as digging is offered: `cells [2, MAX_WORK]`; returns how many."""
    if not action_rules.dig >> DIG_RUBBLE & 1:
        return 0
    return list_work(game, rules, f, min(int(action_rules.rubble_distance), WORK_REACH), GROUND_REACH, cells)


@jit
def list_work(game, rules, f, reach, ground_reach, cells):
    """Rubble that stands in the way of the lichen of factory `f`, with what clearing it costs: `cells [2, N]`; returns how many.

    Listed is what lies beside open ground that lichen reaches from the walls: rubble at most `reach` steps from them, across
    ground at most `ground_reach` steps. A cell costs its rubble and its distance, less what lies open behind it.
    """
    size = int(rules.map_size)
    centre = int(game.factory_cell[f])
    rubble, ice, ore, factory_at = game.rubble, game.ice, game.ore, game.factory_at
    seen = np.zeros(CELLS, np.uint8)
    frontier = np.zeros(CELLS, np.int16)
    tail = 0
    for dx in range(-1, 2):
        for dy in range(-1, 2):
            seen[centre + dx * SIZE + dy] = 2
            frontier[tail] = centre + dx * SIZE + dy
            tail += 1
    head = 0
    count = 0
    while head < tail:
        cell = int(frontier[head])
        head += 1
        x = cell // SIZE
        y = cell % SIZE
        for d in range(1, 5):
            nx = x + DX[d]
            ny = y + DY[d]
            if nx < 0 or ny < 0 or nx >= size or ny >= size:
                continue
            near = nx * SIZE + ny
            if seen[near] or ice[near] or ore[near] or factory_at[near] >= 0:
                continue
            seen[near] = 1
            distance = wall_distance(near, centre)
            if rubble[near] == 0:
                if distance <= ground_reach:
                    seen[near] = 2  # lichen gets there
                    frontier[tail] = near
                    tail += 1
            elif distance <= reach:
                cells[0, count] = near
                cells[1, count] = int(rubble[near]) + FAR_FROM_WALLS * distance
                count += 1
    for i in range(count):
        x = cells[0, i] // SIZE
        y = cells[0, i] % SIZE
        for d in range(1, 5):
            nx = x + DX[d]
            ny = y + DY[d]
            if nx < 0 or ny < 0 or nx >= size or ny >= size:
                continue
            near = nx * SIZE + ny
            if seen[near] != 2 and rubble[near] == 0 and not ice[near] and not ore[near] and factory_at[near] < 0:
                cells[1, i] -= OPENS
    return count


@jit
def next_rubble(robot_at, cells, count, player, r, cell):
    """The cell of `list_rubble` where digging opens most ground soonest, the walk of robot `r` counted; -1 if there is none.
    One where another robot of the side stands is left to it."""
    x = cell // SIZE
    y = cell % SIZE
    best = -1
    least = 1 << 30
    for i in range(count):
        near = int(cells[0, i])
        cost = FAR_FROM_ROBOT * (abs(near // SIZE - x) + abs(near % SIZE - y)) + int(cells[1, i])
        if cost < least and not taken(robot_at, near, player, r):
            least = cost
            best = near
    return best


@jit
def next_source(game, cells, price, player, r, cell):
    """Of the ice or ore around a factory, `cells [NEAREST]`, what is the shortest way for robot `r` there and home again, clearing it
    included; -1 if there is none. Where another robot of the side stands is left to it."""
    x = cell // SIZE
    y = cell % SIZE
    best = -1
    least = 1 << 30
    for i in range(len(cells)):
        near = int(cells[i])
        if near < 0:
            break
        cost = STEP * (abs(near // SIZE - x) + abs(near % SIZE - y)) + int(price[near]) + CLEAR * int(game.rubble[near])
        if cost < least and not taken(game.robot_at, near, player, r):
            least = cost
            best = near
    return best


@jit
def nearest_factory(factory_cell, numbers, count, cell):
    """The first of the nearest of `numbers[:count]`, by the distance to its walls; -1 if there is none."""
    best = -1
    least = 1 << 30
    for i in range(count):
        distance = wall_distance(cell, int(factory_cell[numbers[i]]))
        if distance < least:
            least = distance
            best = int(numbers[i])
    return best


@jit
def wall_cell(cell, centre):
    """The cell of a factory's nine that is nearest to `cell`."""
    x = min(max(cell // SIZE, centre // SIZE - 1), centre // SIZE + 1)
    y = min(max(cell % SIZE, centre % SIZE - 1), centre % SIZE + 1)
    return x * SIZE + y


@jit
def write_target(row, k, cell, target):
    """Where `target` (a cell, or -1 for none: all zero) lies from `cell`."""
    if target < 0:
        row[k : k + len(TARGET)] = 0
        return
    dx = target // SIZE - cell // SIZE
    dy = target % SIZE - cell % SIZE
    distance = abs(dx) + abs(dy)
    row[k + TARGET.side_x] = min(max(dx, -1), 1)
    row[k + TARGET.side_y] = min(max(dy, -1), 1)
    row[k + TARGET.dx] = min(max(dx, -32), 32) / 16
    row[k + TARGET.dy] = min(max(dy, -32), 32) / 16
    row[k + TARGET.distance] = min(distance, 64) / 32
    row[k + TARGET.closeness] = 1 / (1 + distance)
    row[k + TARGET.at] = distance == 0
    row[k + TARGET.adjacent] = distance == 1


@jit
def enter_cost(game, player, x, y, size):
    """Power for a heavy robot of `player` to enter the cell [x, y]; `NO_WAY` off the map, on enemy factories and on centres of own ones."""
    if x < 0 or y < 0 or x >= size or y >= size:
        return NO_WAY
    cell = x * SIZE + y
    factory = game.factory_at[cell]
    if factory >= 0 and (game.factory_owner[factory] != player or game.factory_cell[factory] == cell):
        return NO_WAY
    return STEP + int(game.rubble[cell])


@jit
def rate_directions(row, k):
    """Turn what the four directions cost, `row[k : k + 4]`, into how good they are: from 1 for the best down to 0 for one that costs a
    step over flat ground more, or is closed."""
    best = NO_WAY
    for i in range(k, k + 4):
        best = min(best, row[i])
    for i in range(k, k + 4):
        row[i] = max(1 - (row[i] - best) / STEP, 0.0) if row[i] < NO_WAY else 0.0


@jit
def write_way(game, rules, price, r, row, k):
    """The cheapest way of robot `r` home, by `price [CELLS]` (`wrappers.routes`): the four directions, its length (in steps over
    flat ground that cost as much) and the power left at its end; zeros if there is none."""
    cell = int(game.robot_cell[r])
    heavy = int(game.robot_heavy[r])
    size = int(rules.map_size)
    row[k : k + len(WAY)] = 0
    cost = int(price[cell])
    if cost >= NO_WAY:
        return
    row[k + WAY.length] = min(cost / (32 * STEP), 2.0)
    power = int(game.robot_power[r]) - (cost if heavy else cost / STEP)
    row[k + WAY.power_after] = max(power / rules.battery_capacity[heavy], -1.0)
    if cost > 0:
        for d in range(1, 5):
            x = cell // SIZE + DX[d]
            y = cell % SIZE + DY[d]
            row[k + d - 1] = NO_WAY
            enter = enter_cost(game, r // MAX_ROBOTS, x, y, size)
            if enter < NO_WAY:
                row[k + d - 1] = enter + int(price[x * SIZE + y])
        rate_directions(row, k)


@jit
def write_steps(game, rules, r, target, row, k):
    """The directions of robot `r` to a cell nearby: the steps that bring it nearer, by what is in the way of the next; -1 is no target."""
    cell = int(game.robot_cell[r])
    size = int(rules.map_size)
    row[k : k + len(STEPS)] = 0
    if target >= 0 and target != cell:
        for d in range(1, 5):
            x = cell // SIZE + DX[d]
            y = cell % SIZE + DY[d]
            away = abs(target // SIZE - x) + abs(target % SIZE - y)
            row[k + d - 1] = min(enter_cost(game, r // MAX_ROBOTS, x, y, size) + STEP * away, NO_WAY)
        rate_directions(row, k)


@jit
def taken(robot_at, target, player, r):
    """Whether another robot of the side stands on the cell `target`."""
    if target < 0:
        return False
    other = int(robot_at[target])
    return other >= 0 and other != r and other // MAX_ROBOTS == player
