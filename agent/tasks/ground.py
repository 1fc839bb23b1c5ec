"""Free ground that a factory's lichen could grow on."""

from __future__ import annotations

from engine.config import SIZE
from engine.jit import jit
from engine.state import DX, DY

LOOK = 14  # columns and rows around a factory that are looked at


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
