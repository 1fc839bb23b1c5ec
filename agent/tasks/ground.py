"""Free ground that a factory's lichen could grow on."""

from __future__ import annotations

import numpy as np

from engine.config import CELLS, SIZE
from engine.jit import jit
from engine.state import DX, DY

LOOK = 14  # columns and rows around a factory that are looked at
LOOKS = 4  # turns after which a factory looks again


@jit
def look_around(game, rules, memory, f):
    """Bring up to date what those that observe remember of the ground of factory `f`, if that is old."""
    now = int(game.real_step)
    if now >= memory.looked[f]:
        memory.looked[f] = now + LOOKS
        memory.ground[f, 0] = room_to_grow(game, rules, f)
        memory.ground[f, 1] = open_ground(game, rules, f)


@jit
def open_ground(game, rules, f):
    """Cells that the lichen of factory `f` could reach over ground that is clear now, those that it has included."""
    size = int(rules.map_size)
    centre = int(game.factory_cell[f])
    cx, cy = centre // SIZE, centre % SIZE
    seen = np.zeros(CELLS, np.uint8)
    cells = np.zeros(CELLS, np.int16)
    count = 0
    for dx in range(-1, 2):
        for dy in range(-1, 2):
            cells[count] = centre + dx * SIZE + dy
            seen[cells[count]] = 1
            count += 1
    walls = count
    head = 0
    while head < count:
        x, y = cells[head] // SIZE, cells[head] % SIZE
        head += 1
        for d in range(1, 5):
            nx, ny = x + DX[d], y + DY[d]
            if nx < 0 or ny < 0 or nx >= size or ny >= size or abs(nx - cx) > LOOK or abs(ny - cy) > LOOK:
                continue
            near = nx * SIZE + ny
            if seen[near] or game.rubble[near] or game.ice[near] or game.ore[near] or game.factory_at[near] >= 0:
                continue
            seen[near] = 1
            if game.strain[near] < 0 or game.strain[near] == f:
                cells[count] = near
                count += 1
    return count - walls


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
