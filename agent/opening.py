"""The opening by rule: what to bid, and where to place factories.

A factory lives on ice: one that touches ice can be fed by a robot that never moves. So touching ice beats everything;
after it count more ice, ore nearby, flat ground for lichen, and distance from other factories.
All arithmetic is in integers, so compiled and interpreted runs choose the same cell.
"""

from __future__ import annotations

import numpy as np

from engine.config import CELLS, SIZE
from engine.jit import jit

FAR = 2 * SIZE  # farther than any two cells

# The step from touching ice to not touching it is ICE / 2; all other terms together span less than that.
ICE = 1000  # divided by the distance of the footprint to ice
MORE_ICE, MOST_ICE = 25, 3  # for each further tile of ice that touches the footprint, at most so many
ORE, ORE_REACH = 15, 8  # for each step that the nearest ore is closer than this
FLAT_REACH = 5  # ground within this many columns and rows of the centre counts
CROWD, CROWD_REACH = 12, 13  # against each step that the nearest factory is closer than this; 7 is the closest allowed


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
def flat_sums(game, width):
    """Sums `[SIZE + 1, SIZE + 1] int32` of how good the ground left of and above a corner is for lichen, 0 to 4 a cell."""
    rubble, ice, ore, factory_at = game.rubble, game.ice, game.ore, game.factory_at
    sums = np.zeros((SIZE + 1, SIZE + 1), np.int32)
    for x in range(width):
        column = 0
        for y in range(width):
            cell = x * SIZE + y
            if not ice[cell] and not ore[cell] and factory_at[cell] < 0:
                if rubble[cell] == 0:
                    column += 4
                elif rubble[cell] < 10:
                    column += 2
                elif rubble[cell] < 20:
                    column += 1
            sums[x + 1, y + 1] = sums[x, y + 1] + column
    return sums


@jit
def best_cell(game, rules):
    """The centre of the best place for a new factory, as a cell; -1 where no cell can take one."""
    width = int(rules.map_size)
    spawnable, ice, factory_cell = game.spawnable, game.ice, game.factory_cell
    ice_distance, ore_distance = distance_to(ice, width), distance_to(game.ore, width)
    flat = flat_sums(game, width)
    best, best_score = -1, 0
    for x in range(1, width - 1):
        left, right = max(0, x - FLAT_REACH), min(width, x + FLAT_REACH + 1)
        for y in range(1, width - 1):
            cell = x * SIZE + y
            if not spawnable[cell]:
                continue
            score = ICE // max(1, footprint_distance(ice_distance, cell))
            score += MORE_ICE * min(MOST_ICE, max(0, touching(ice, cell, width) - 1))
            score += ORE * max(0, ORE_REACH - footprint_distance(ore_distance, cell))
            top, bottom = max(0, y - FLAT_REACH), min(width, y + FLAT_REACH + 1)
            score += (flat[right, bottom] - flat[left, bottom] - flat[right, top] + flat[left, top]) // 2
            nearest = FAR
            for f in range(game.factory_count):
                other = int(factory_cell[f])
                nearest = min(nearest, abs(other // SIZE - x) + abs(other % SIZE - y))
            score -= CROWD * max(0, CROWD_REACH - nearest)
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
        return
    left = int(game.factories_to_place[player])
    # the side that places first has the odd turns
    if game.real_step >= 0 or left <= 0 or game.env_steps % 2 != game.place_first[player]:
        return
    cell = best_cell(game, rules)
    if cell >= 0:
        orders.spawn[player] = cell
        orders.spawn_water[player] = game.team_water[player] // left
        orders.spawn_metal[player] = game.team_metal[player] // left
