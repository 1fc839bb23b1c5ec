"""Where a robot could dig: ice and ore, rubble, and the enemy's lichen."""

from __future__ import annotations

import numpy as np

from agent.tasks.memory import BEYOND, CLEAR_TASK, ICE_TASK
from agent.tasks.threats import is_dangerous, is_threatened
from engine.config import MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import FACTORIES, ICE, ORE
from wrappers.routes import CLEAR, NO_WAY, STEP
from wrappers.targets import FAR_FROM_ROBOT, list_work, wall_distance


@jit
def dig_counts(game, rules, r, cell, task):
    """Digs of robot `r` until the cell is clear, and from then on until its hold is full."""
    heavy = int(game.robot_heavy[r])
    removed = int(rules.dig_rubble_removed[heavy])
    clear = (int(game.rubble[cell]) + removed - 1) // removed
    if task == CLEAR_TASK:
        return clear, 0
    gain = int(rules.dig_resource_gain[heavy])
    room = int(rules.cargo_space[heavy]) - int(game.robot_cargo[r, ICE if task == ICE_TASK else ORE])
    return clear, (room + gain - 1) // gain


@jit
def is_source(game, static, dials, turn, r, home, cell):
    """Whether robot `r` could go and dig ice or ore at a cell: nobody does, and enemies who do, or threaten it, are destroyed near home."""
    if turn.used[cell] or is_dangerous(game, turn, r, cell):
        return False
    player = r // MAX_ROBOTS
    other = int(game.robot_at[cell])
    if other >= 0 and other != r and other // MAX_ROBOTS == player:
        return False
    taken = other >= 0 and other // MAX_ROBOTS != player or is_threatened(turn, int(game.robot_heavy[r]), cell)
    return not taken or wall_distance(cell, int(game.factory_cell[home])) < dials.claim


@jit
def best_source(game, static, dials, turn, player, home, r, task):
    """The cell of ice or ore around `home` that nobody digs with the cheapest way there and back, clearing included; or -1."""
    cells = static.ice_near[home] if task == ICE_TASK else static.ore_near[home]
    cell = int(game.robot_cell[r])
    best = -1
    least = NO_WAY
    for i in range(len(cells)):
        near = int(cells[i])
        if near < 0:
            break
        if not is_source(game, static, dials, turn, r, home, near):
            continue
        walk = STEP * (abs(near // SIZE - cell // SIZE) + abs(near % SIZE - cell % SIZE))
        cost = walk + int(static.home_price[home, near]) + CLEAR * int(game.rubble[near])
        if cost < least:
            best, least = near, cost
    return best


@jit
def is_free(game, turn, r, cell):
    """Whether robot `r` could go and dig there: nobody else works or stands there, and no enemy threatens the place."""
    other = int(game.robot_at[cell])
    if other >= 0 and other != r or turn.used[cell]:
        return False
    return not is_dangerous(game, turn, r, cell) and not is_threatened(turn, int(game.robot_heavy[r]), cell)


@jit
def count_work(game, rules, dials, turn, home):
    """How much rubble there is to clear around the factory; it is listed in `turn.work[home]`."""
    if turn.works[home] < 0:
        turn.works[home] = list_work(game, rules, home, dials.reach, dials.reach + BEYOND, turn.work[home])
    return int(turn.works[home])


@jit
def best_rubble(game, rules, dials, turn, player, home, r):
    """The cell whose clearing opens most ground for lichen soonest, that nobody works on; -1 if there is none."""
    cell = int(game.robot_cell[r])
    best = -1
    least = 1 << 30
    for i in range(count_work(game, rules, dials, turn, home)):
        near = int(turn.work[home, 0, i])
        walk = abs(near // SIZE - cell // SIZE) + abs(near % SIZE - cell % SIZE)
        cost = FAR_FROM_ROBOT * walk + int(turn.work[home, 1, i])
        if cost >= least or turn.used[near] or is_dangerous(game, turn, r, near) or is_threatened(turn, int(game.robot_heavy[r]), near):
            continue
        other = int(game.robot_at[near])
        if other >= 0 and other != r:
            continue
        best, least = near, cost
    return best


@jit
def list_lichen(game, rules, turn, r, cells, scores):
    """For each enemy factory the tile of its lichen where robot `r` digs up most for the walk, that nobody works on: `cells [FACTORIES]`,
    -1 where there is none, and how good they are, `scores [FACTORIES]`."""
    player = r // MAX_ROBOTS
    heavy = int(game.robot_heavy[r])
    cell = int(game.robot_cell[r])
    size = int(rules.map_size)
    x0 = cell // SIZE
    y0 = cell % SIZE
    once = int(rules.dig_lichen_removed[heavy])
    cells[:] = -1
    scores[:] = 0
    for x in range(size):
        for y in range(size):
            near = x * SIZE + y
            if game.lichen[near] == 0 or game.factory_owner[game.strain[near]] == player or turn.used[near]:
                continue
            if is_dangerous(game, turn, r, near):
                continue
            other = int(game.robot_at[near])
            if other >= 0 and other != r:
                continue
            digs = (int(game.lichen[near]) + once - 1) // once
            score = 1000 * int(game.lichen[near]) // (abs(x - x0) + abs(y - y0) + digs + 1)
            f = game.strain[near]
            if score > scores[f]:
                cells[f], scores[f] = near, score


@jit
def best_lichen(game, rules, turn, r):
    """The best of these tiles; -1 if there is none."""
    cells = np.zeros(FACTORIES, np.int16)
    scores = np.zeros(FACTORIES, np.int32)
    list_lichen(game, rules, turn, r, cells, scores)
    best = -1
    most = 0
    for f in range(FACTORIES):
        if scores[f] > most or scores[f] == most and most > 0 and cells[f] < best:
            best, most = int(cells[f]), int(scores[f])
    return best
