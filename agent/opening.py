"""The opening: what to bid, and where to place factories.

A factory lives on ice: one that touches ice can be fed by a robot that never moves. So of all cells that are left only those
nearest to ice are looked at, which almost always touch it. Among them counts what a factory there changes, in the lichen of
both sides: how near the tiles of ice are that it would dig on, and what it takes of them from other factories, friends and
enemies; flat ground near it, and ore. What these are worth was learned from games with random openings
(docs/results/opening.md). All arithmetic is in integers, so compiled and interpreted runs choose the same cell.
"""

from __future__ import annotations

import math

import numpy as np

from engine.config import CELLS, SIZE
from engine.jit import jit

FAR = 2 * SIZE  # farther than any two cells
NOWHERE = -(2**60)  # a score below all

# in hundredths of a flat tile
NEAREST = (-850, -950, -210)  # against each step from the first, second and third tile of ice that no other factory is nearer to
FARTHEST = 12  # steps beyond which a tile of ice counts no less
ORE, ORE_REACH = -345, 25  # against each step from ore, up to so many
GROUND_REACH = 5  # a square of ground around the centre
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
def steps_between(centre, cell):
    """Steps from a cell to the footprint of a factory centred at `centre`."""
    dx, dy = abs(centre // SIZE - cell // SIZE), abs(centre % SIZE - cell % SIZE)
    return max(dx - 1, 0) + max(dy - 1, 0)


@jit
def nearest_ice(steps, rivals, order, found):
    """Write how far the nearest tiles of ice are that a factory digs on into `found [3]`, at most `FARTHEST` each; returns their worth.

    Its tiles are those that no rival is nearer to: `steps` and `rivals [T] int32` are its and the nearest rival's steps to all
    tiles, `order [T]` the tiles by its steps.
    """
    found[:] = FARTHEST
    rank = 0
    for t in order:
        if rank == len(found) or steps[t] >= FARTHEST:
            break
        if steps[t] <= rivals[t]:
            found[rank] = steps[t]
            rank += 1
    worth = 0
    for rank in range(len(found)):
        worth += NEAREST[rank] * found[rank]
    return worth


@jit
def ice_of_factories(game, tiles):
    """Who digs where: of each factory so far its steps to the tiles of ice `[F, T]`, the nearest other factory's `[F + 1, T]` (last: the
    nearest of all), the tiles by its steps `[F, T]`, and `nearest_ice` of it: `[F, 3]` and their worth `[F]`."""
    count = int(game.factory_count)
    steps = np.full((count, len(tiles)), FAR, np.int32)
    rivals = np.full((count + 1, len(tiles)), FAR, np.int32)
    order = np.zeros((count, len(tiles)), np.int64)
    found = np.zeros((count, len(NEAREST)), np.int64)
    worth = np.zeros(count, np.int64)
    for f in range(count):
        for t in range(len(tiles)):
            steps[f, t] = steps_between(int(game.factory_cell[f]), tiles[t])
        order[f] = np.argsort(steps[f], kind="mergesort")
    for f in range(count + 1):
        for other in range(count):
            if other != f:
                rivals[f] = np.minimum(rivals[f], steps[other])
    for f in range(count):
        worth[f] = nearest_ice(steps[f], rivals[f], order[f], found[f])
    return steps, rivals, order, found, worth


@jit
def site_scores(game, rules, player, slack=0):
    """The worth `[CELLS] int64` of a new factory of side `player` on each cell; `NOWHERE` where none may stand, and farther from ice
    than the closest cell by more than `slack` steps."""
    width = int(rules.map_size)
    ice_distance, ore_distance = distance_to(game.ice, width), distance_to(game.ore, width)
    ground = corner_sums(ground_worth(game, width), width)
    tiles = np.flatnonzero(game.ice)
    steps, rivals, order, _, worth = ice_of_factories(game, tiles)
    closest = FAR
    for cell in range(CELLS):
        if game.spawnable[cell]:
            closest = min(closest, footprint_distance(ice_distance, cell))
    scores = np.full(CELLS, NOWHERE, np.int64)
    own, found = np.zeros(len(tiles), np.int32), np.zeros(len(NEAREST), np.int64)
    for x in range(1, width - 1):
        for y in range(1, width - 1):
            cell = x * SIZE + y
            if not game.spawnable[cell] or footprint_distance(ice_distance, cell) > closest + slack:
                continue
            for t in range(len(tiles)):
                own[t] = steps_between(cell, tiles[t])
            score = nearest_ice(own, rivals[-1], np.argsort(own, kind="mergesort"), found)
            for f in range(len(worth)):  # what it takes from the others
                change = nearest_ice(steps[f], np.minimum(rivals[f], own), order[f], found) - worth[f]
                score += change if game.factory_owner[f] == player else -change
            score += ORE * min(footprint_distance(ore_distance, cell), ORE_REACH)
            score += square_sum(ground, x, y, GROUND_REACH, width)
            scores[cell] = score
    return scores


@jit
def best_cell(game, rules, player):
    """The centre of the best place for a new factory of side `player`, as a cell; -1 where no cell can take one."""
    scores = site_scores(game, rules, player)
    best = int(np.argmax(scores))
    return best if scores[best] > NOWHERE else -1


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
    cell = best_cell(game, rules, player)
    if cell >= 0:
        orders.spawn[player] = cell
        orders.spawn_water[player] = game.team_water[player] // left
        orders.spawn_metal[player] = game.team_metal[player] // left
