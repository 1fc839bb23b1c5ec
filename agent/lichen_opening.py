"""The opening of agents that water lichen: it places by what a factory changes in the lichen of both sides.

Only the cells nearest to ice are looked at, which almost always touch it. Among them counts how near the tiles of ice are
that a factory there would dig on, and what it takes of them from other factories, friends and enemies; flat ground near it
(its own; what others lose is not counted); and ore. What these are worth was learned from games with random openings
(`reproduce.sites`, docs/results/opening.md). All arithmetic is in integers, so compiled and interpreted runs choose the same
cell.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from agent import opening as rule
from agent.opening import FAR, corner_sums, distance_to, footprint_distance, ground_worth, order_factory, square_sum, turn_to_place
from engine.config import CELLS, SIZE
from engine.jit import jit

NOWHERE = -(2**60)  # a score below all

# in hundredths of a flat tile
NEAREST = (-1100, -1460, -130)  # for each step from the first, second and third tile of ice that no other factory is nearer to
FARTHEST = 12  # steps beyond which a tile of ice counts no less
ORE, ORE_REACH = -410, 25  # for each step from ore, up to so many
GROUND_REACH = 5  # a square of ground around the centre


def opening_of(actions: Any) -> Callable[..., None]:
    """The opening of an agent that is offered these actions (an `ActionConfig`): by lichen if it can water, else by ice."""
    return lichen_opening if actions.water else rule.opening


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
    for x in range(1, width - 1):
        for y in range(1, width - 1):
            if game.spawnable[x * SIZE + y]:
                closest = min(closest, footprint_distance(ice_distance, x * SIZE + y))
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
def lichen_opening(game, rules, player, orders):
    """Write the order of side `player` for one turn of the opening, as `agent.opening.opening` does; it bids nothing."""
    if game.env_steps == 0:
        orders.bid[player] = 0
    elif turn_to_place(game, player):
        order_factory(game, player, best_cell(game, rules, player), orders)
