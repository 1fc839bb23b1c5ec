"""Ways over the board: what it costs to walk from every cell home to each factory, and which ice and ore lie nearest to each.

Costs are power of a heavy robot; a light one pays a twentieth of it, up to rounding, so the cheapest ways are the same. They
are made once, when the factories stand, and hold for the whole game: robots clear rubble, which makes ways a little
cheaper, and a factory that falls leaves a detour behind.
"""

from __future__ import annotations

import heapq

import numpy as np

from engine.config import CELLS, SIZE
from engine.jit import jit
from engine.state import DX, DY

STEP, RUBBLE = 20, 1  # power for a heavy robot to enter a cell, and for each unit of rubble there
CLEAR = 3  # power for each unit of rubble to clear the cell before it can be dug: 60 for 20 units
NO_WAY = 30_000  # more than any way costs
NEAREST = 16  # cells of ice and of ore that are listed for each factory


@jit
def spread_prices(price, enter, size):
    """Lower `price [CELLS]` (int16; set at the goals, `NO_WAY` elsewhere) to what the cheapest way from each cell to a goal costs;
    `enter [CELLS]` int16 is the cost of entering a cell, `NO_WAY` where that is impossible. Dijkstra's algorithm, from the goals on."""
    heap = [int(price[cell]) * CELLS + cell for cell in range(CELLS) if price[cell] < NO_WAY]
    heapq.heapify(heap)
    while len(heap) > 0:
        entry = heapq.heappop(heap)
        cell = entry % CELLS
        cost = entry // CELLS
        if cost > price[cell]:
            continue
        cost += int(enter[cell])
        if cost >= NO_WAY:
            continue
        x = cell // SIZE
        y = cell % SIZE
        for d in range(1, 5):
            nx = x + DX[d]
            ny = y + DY[d]
            if nx >= 0 and ny >= 0 and nx < size and ny < size:
                near = nx * SIZE + ny
                if cost < price[near]:
                    price[near] = cost
                    heapq.heappush(heap, cost * CELLS + near)


@jit
def write_enter_costs(game, size, player, enter):
    """What it costs a heavy robot of `player` to enter each cell, `enter [CELLS]`; enemy factories and centres of own ones are closed."""
    for x in range(size):
        for cell in range(x * SIZE, x * SIZE + size):
            factory = game.factory_at[cell]
            if factory >= 0 and (game.factory_owner[factory] != player or game.factory_cell[factory] == cell):
                enter[cell] = NO_WAY
            else:
                enter[cell] = STEP + RUBBLE * int(game.rubble[cell])


@jit
def write_home_prices(game, size, f, enter, price):
    """`price [CELLS]` of the way to the walls of factory `f`."""
    price[:] = NO_WAY
    centre = int(game.factory_cell[f])
    for dx in range(-1, 2):
        for dy in range(-1, 2):
            price[centre + dx * SIZE + dy] = 0
    spread_prices(price, enter, size)


@jit
def list_nearest(game, size, resource, price, cells):
    """The cells of `resource [CELLS]` from which the way home by `price [CELLS]` is cheapest, clearing the cell included.

    Written to `cells [NEAREST]`, cheapest first, -1 behind the last.
    """
    cost = np.full(NEAREST, NO_WAY, np.int32)
    cells[:] = -1
    for x in range(size):
        for cell in range(x * SIZE, x * SIZE + size):
            if not resource[cell]:
                continue
            here = int(price[cell]) + CLEAR * int(game.rubble[cell])
            i = NEAREST - 1
            if here >= cost[i]:
                continue
            while i > 0 and cost[i - 1] > here:
                cost[i] = cost[i - 1]
                cells[i] = cells[i - 1]
                i -= 1
            cost[i] = here
            cells[i] = cell
