"""The opening by rule: what to bid, and where to place factories. For agents that water lichen there is `agent.lichen_opening`.

A factory lives on ice: one that touches ice can be fed by a robot that never moves. So touching ice beats everything;
after it count more ice nearby that no other factory is near to (there are few tiles of it, one heavy digs on each, and water
is what a farm is short of), ground for lichen (flat, near, and not near another factory), and ore.
All arithmetic is in integers, so compiled and interpreted runs choose the same cell.
"""

from __future__ import annotations

import math

import numpy as np

from engine.config import CELLS, SIZE
from engine.jit import jit

FAR = 2 * SIZE  # farther than any two cells

# in hundredths of a flat tile
ICE = 25_000  # against each step from ice; all other terms together span less than that
NEAR_ICE, NEAR_MOST, NEAR_REACH = 2_000, 4, 5  # for each tile of free ice in such a square around the centre, up to so many
MORE_ICE, MOST_ICE = 100, 3  # for each further tile of ice that touches the footprint, at most so many
ORE, ORE_REACH = 80, 25  # against each step from ore, up to so many
REACHES, SHARES = (3, 5, 8), (5, 3, 2)  # squares of ground around the centre, and tenths that a tile in them counts
GROUND = tuple(round(100 * math.exp(-rubble / 30)) for rubble in range(101))  # worth of a tile by its rubble
SHARED, SHARED_REACH = 10, 8  # ground within such a square around another factory is worth a tenth


@jit
def distance_to(board, width):
    """Steps `[CELLS] int32` from every cell to the nearest set cell of `board [CELLS]`; `FAR` where there is none."""
    distance = np.full(CELLS, FAR, np.int32)
    for x in range(width):
        for y in range(width):
            cell = x * SIZE + y
            best = FAR
            if board[cell]:
                best = 0
            if x > 0:
                best = min(best, distance[cell - SIZE] + 1)
            if y > 0:
                best = min(best, distance[cell - 1] + 1)
            distance[cell] = best
    for x in range(width - 1, -1, -1):
        for y in range(width - 1, -1, -1):
            cell = x * SIZE + y
            best = distance[cell]
            if x < width - 1:
                best = min(best, distance[cell + SIZE] + 1)
            if y < width - 1:
                best = min(best, distance[cell + 1] + 1)
            distance[cell] = best
    return distance


@jit
def footprint_distance(distance, cell):
    """The least of `distance [CELLS]` over the 3x3 cells of a factory centred at `cell`."""
    best = FAR
    for dx in range(-1, 2):
        for dy in range(-1, 2):
            best = min(best, distance[cell + dx * SIZE + dy])
    return best


@jit
def touching(board, cell, width):
    """How many of the 12 cells beside the footprint of a factory centred at `cell` are set in `board [CELLS]`."""
    x, y = cell // SIZE, cell % SIZE
    count = 0
    for along in range(-1, 2):
        if x >= 2 and board[cell - 2 * SIZE + along]:
            count += 1
        if x < width - 2 and board[cell + 2 * SIZE + along]:
            count += 1
        if y >= 2 and board[cell + along * SIZE - 2]:
            count += 1
        if y < width - 2 and board[cell + along * SIZE + 2]:
            count += 1
    return count


@jit
def near_factories(game, width, reach):
    """The cells `[CELLS] uint8` in squares of this reach around the factories so far."""
    near = np.zeros(CELLS, np.uint8)
    for f in range(game.factory_count):
        cx, cy = int(game.factory_cell[f]) // SIZE, int(game.factory_cell[f]) % SIZE
        for x in range(max(cx - reach, 0), min(cx + reach + 1, width)):
            for y in range(max(cy - reach, 0), min(cy + reach + 1, width)):
                near[x * SIZE + y] = 1
    return near


@jit
def corner_sums(worth, width):
    """Sums `[SIZE + 1, SIZE + 1] int32` of `worth [CELLS]` left of and above each corner."""
    sums = np.zeros((SIZE + 1, SIZE + 1), np.int32)
    for x in range(width):
        column = 0
        for y in range(width):
            column += int(worth[x * SIZE + y])
            sums[x + 1, y + 1] = sums[x, y + 1] + column
    return sums


@jit
def square_sum(sums, x, y, reach, width):
    """The sum over a square around a cell, by `corner_sums`."""
    left, right = max(0, x - reach), min(width, x + reach + 1)
    top, bottom = max(0, y - reach), min(width, y + reach + 1)
    return sums[right, bottom] - sums[left, bottom] - sums[right, top] + sums[left, top]


@jit
def ground_worth(game, width):
    """What each cell `[CELLS] int32` is worth for lichen."""
    rubble, ice, ore, factory_at = game.rubble, game.ice, game.ore, game.factory_at
    shared = near_factories(game, width, SHARED_REACH)
    worth = np.zeros(CELLS, np.int32)
    for x in range(width):
        for y in range(width):
            cell = x * SIZE + y
            if not ice[cell] and not ore[cell] and factory_at[cell] < 0:
                flat = GROUND[min(int(rubble[cell]), 100)]
                worth[cell] = flat // SHARED if shared[cell] else flat
    return worth


@jit
def best_cell(game, rules):
    """The centre of the best place for a new factory, as a cell; -1 where no cell can take one."""
    width = int(rules.map_size)
    spawnable, ice = game.spawnable, game.ice
    ice_distance, ore_distance = distance_to(ice, width), distance_to(game.ore, width)
    ground = corner_sums(ground_worth(game, width), width)
    free_ice = corner_sums(ice * (1 - near_factories(game, width, NEAR_REACH)), width)
    best, best_score = -1, 0
    for x in range(1, width - 1):
        for y in range(1, width - 1):
            cell = x * SIZE + y
            if not spawnable[cell]:
                continue
            score = -ICE * footprint_distance(ice_distance, cell) - ORE * min(footprint_distance(ore_distance, cell), ORE_REACH)
            score += MORE_ICE * min(MOST_ICE, max(0, touching(ice, cell, width) - 1))
            score += NEAR_ICE * min(NEAR_MOST, square_sum(free_ice, x, y, NEAR_REACH, width))
            for i in range(len(REACHES)):
                score += SHARES[i] * square_sum(ground, x, y, REACHES[i], width) // 10
            if best < 0 or score > best_score:
                best, best_score = cell, score
    return best


@jit
def opening(game, rules, player, orders, bid=0):
    """Write the order of side `player` for one turn of the opening: its bid, or a factory when it is its turn to place.

    `game` is a record of `GAME_DTYPE`, `rules` of `RULES_DTYPE`, `orders` (written) of `ORDERS_DTYPE`. Water and metal are
    split evenly over the factories that are left to place, the last one takes the rest. In all other turns nothing is written.
    """
    if game.env_steps == 0:
        orders.bid[player] = bid
    elif turn_to_place(game, player):
        order_factory(game, player, best_cell(game, rules), orders)


@jit
def turn_to_place(game, player):
    """Whether the side places a factory in this turn; the side that places first has the odd ones."""
    return game.real_step < 0 and game.factories_to_place[player] > 0 and game.env_steps % 2 == game.place_first[player]


@jit
def order_factory(game, player, cell, orders):
    """Order a factory on this cell, if it is one, with its share of water and metal."""
    if cell >= 0:
        left = int(game.factories_to_place[player])
        orders.spawn[player] = cell
        orders.spawn_water[player] = game.team_water[player] // left
        orders.spawn_metal[player] = game.team_metal[player] // left
