"""Ground for lichen: rubble that is worth clearing, and free ground that a factory's lichen could grow on."""

from __future__ import annotations

import numpy as np

from engine.config import CELLS, SIZE
from engine.jit import jit
from engine.state import DX, DY
from wrappers.masks import wall_distance

MAX_REACH = 20  # steps from the walls of a factory up to which rubble can be listed
MAX_WORK = 12 * MAX_REACH + 2 * MAX_REACH * (MAX_REACH - 1)  # cells that near
BEYOND = 4  # steps beyond the reach up to which open ground counts
FAR_FROM_WALLS, OPENS = 3, 15  # in units of rubble: a step from the walls, a tile of open ground behind
LOOK = 14  # columns and rows around a factory in which `room_to_grow` looks


@jit
def list_work(game, rules, f, reach, cells):
    """Rubble that stands in the way of the lichen of factory `f`, with what clearing it costs: `cells [2, MAX_WORK]`; returns how many.

    Listed is what lies beside open ground that lichen reaches from the walls, at most `reach` steps from them. A cell costs
    its rubble and its distance, less what lies open behind it.
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
                if distance <= reach + BEYOND:
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
def room_to_grow(game, rules, f):
    """Free ground beside the lichen or the walls of factory `f`, on which no other factory's lichen borders."""
    size = int(rules.map_size)
    centre = int(game.factory_cell[f])
    cx, cy = centre // SIZE, centre % SIZE
    room = 0
    for x in range(max(cx - LOOK, 0), min(cx + LOOK, size - 1) + 1):
        for y in range(max(cy - LOOK, 0), min(cy + LOOK, size - 1) + 1):
            cell = x * SIZE + y
            if game.rubble[cell] or game.lichen[cell] or game.ice[cell] or game.ore[cell] or game.factory_at[cell] >= 0:
                continue
            own = False
            foreign = False
            for d in range(1, 5):
                nx, ny = x + DX[d], y + DY[d]
                if nx < 0 or ny < 0 or nx >= size or ny >= size:
                    continue
                near = nx * SIZE + ny
                if game.strain[near] == f or game.factory_at[near] == f:
                    own = True
                elif game.strain[near] >= 0 or game.factory_at[near] >= 0:
                    foreign = True
            room += own and not foreign
    return room
