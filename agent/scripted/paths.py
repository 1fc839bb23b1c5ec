"""Walking costs for hand-written opponents: cheapest paths over rubble, and paths as queue entries.

Entering a cell costs power that depends on its rubble; leaving costs nothing. So "from here" and "to there" are two
different fields. Boards are indexed `[x, y]`.
"""

from __future__ import annotations

from typing import List, Tuple

import numpy as np

from engine.jit import jit

CLOSED = 1 << 24  # more than any walk costs, small enough that a sum of two fits int32
STEPS = ((0, 0), (0, -1), (1, 0), (0, 1), (-1, 0))  # by direction: centre, up, right, down, left
MOVE, TRANSFER, PICKUP, DIG = range(4)
ICE, ORE, WATER, METAL, POWER = range(5)

Cell = Tuple[int, int]


def enter_cost(rubble: np.ndarray, move_cost: float, rubble_cost: float, closed: np.ndarray) -> np.ndarray:
    """Power [W, W] that a robot pays to enter each cell; `closed` cells [W, W] bool cannot be entered."""
    cost = np.floor(move_cost + rubble_cost * rubble).astype(np.int32)
    cost[closed] = CLOSED
    return cost


@jit
def _sweep(field, cost):
    """Lower each cell of `field` to its cheapest neighbour plus its own cost, sweeping to and fro until nothing changes."""
    width, height = field.shape
    changed = True
    while changed:
        changed = False
        for x in range(width):
            for y in range(height):
                least = CLOSED
                if x > 0:
                    least = min(least, field[x - 1, y])
                if y > 0:
                    least = min(least, field[x, y - 1])
                if least + cost[x, y] < field[x, y]:
                    field[x, y] = least + cost[x, y]
                    changed = True
        for x in range(width - 1, -1, -1):
            for y in range(height - 1, -1, -1):
                least = CLOSED
                if x < width - 1:
                    least = min(least, field[x + 1, y])
                if y < height - 1:
                    least = min(least, field[x, y + 1])
                if least + cost[x, y] < field[x, y]:
                    field[x, y] = least + cost[x, y]
                    changed = True


def _cheapest_neighbour(padded: np.ndarray, best: np.ndarray) -> None:
    """The lowest value among the four neighbours of each cell of a field with a border of one, written to `best`."""
    np.minimum(padded[:-2, 1:-1], padded[2:, 1:-1], out=best)
    np.minimum(best, padded[1:-1, :-2], out=best)
    np.minimum(best, padded[1:-1, 2:], out=best)


def _relax(start: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The least of its own start value and its cheapest neighbour plus its cost, for each cell; with a border of one."""
    padded = np.full((start.shape[0] + 2, start.shape[1] + 2), CLOSED, np.int32)
    field = padded[1:-1, 1:-1]
    field[:] = start
    if hasattr(_sweep, "py_func"):  # compiled
        _sweep(field, cost)
        return padded
    best = np.empty_like(start)
    while True:
        before = field.copy()
        for _ in range(4):  # comparing costs about as much as a round
            _cheapest_neighbour(padded, best)
            best += cost
            np.minimum(field, best, out=field)
        if (before == field).all():
            return padded


def walk_from(start: Cell, cost: np.ndarray) -> np.ndarray:
    """Power [W, W] to walk from `start` to each cell; `CLOSED` or more where there is no way."""
    field = np.full(cost.shape, CLOSED, np.int32)
    field[start] = 0
    return _relax(field, cost)[1:-1, 1:-1]


def walk_to(targets: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Power [W, W] to walk from each cell to the nearest of `targets` [W, W] bool; a closed target does not count."""
    ends = targets & (cost < CLOSED)
    entered = _relax(np.where(ends, cost, CLOSED).astype(np.int32), cost)  # the price with the cell itself entered
    field = np.empty_like(entered[1:-1, 1:-1])
    _cheapest_neighbour(entered, field)
    field[ends] = 0
    return field


def connected(start: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """The cells [W, W] bool of `start` and those of `ground` that can be reached from them over ground."""
    steps = _relax(np.where(start, 0, CLOSED).astype(np.int32), np.where(ground, 1, CLOSED).astype(np.int32))
    return steps[1:-1, 1:-1] < CLOSED


def neighbours(cell: Cell, size: int) -> List[Tuple[int, Cell]]:
    """(direction, cell) of the up to four neighbours on the map."""
    found = []
    for direction in range(1, 5):
        x, y = cell[0] + STEPS[direction][0], cell[1] + STEPS[direction][1]
        if 0 <= x < size and 0 <= y < size:
            found.append((direction, (x, y)))
    return found


def route_from(field: np.ndarray, cost: np.ndarray, end: Cell) -> List[int]:
    """Directions of a cheapest walk from the start of `walk_from` to `end`, which must be reachable."""
    directions = []
    cell = end
    while field[cell] > 0:
        for direction, before in neighbours(cell, len(field)):
            if field[before] + cost[cell] == field[cell]:
                directions.append((direction + 1) % 4 + 1)  # the way back, turned round
                cell = before
                break
        else:
            raise ValueError(f"cell {end} cannot be reached from the start of the walk")
    return directions[::-1]


def route_to(field: np.ndarray, cost: np.ndarray, start: Cell) -> List[int]:
    """Directions of a cheapest walk from `start` to a target of `walk_to`, which must be reachable."""
    directions = []
    cell = start
    while field[cell] > 0:
        for direction, after in neighbours(cell, len(field)):
            if field[after] + cost[after] == field[cell]:
                directions.append(direction)
                cell = after
                break
        else:
            raise ValueError(f"no target can be reached from cell {start}")
    return directions


def lowest(board: np.ndarray) -> Cell:
    """The cell of the lowest value, the first of several."""
    x, y = np.unravel_index(board.argmin(), board.shape)
    return int(x), int(y)


def moves(directions: List[int]) -> List[List[int]]:
    """Queue entries of a walk: one entry for each straight stretch."""
    entries: List[List[int]] = []
    for direction in directions:
        if entries and entries[-1][1] == direction:
            entries[-1][5] += 1
        else:
            entries.append([MOVE, direction, 0, 0, 0, 1])
    return entries


def footprint(cells: List[Cell], size: int, reach: int = 1) -> np.ndarray:
    """Mask [W, W] of the squares of 2 * reach + 1 cells around `cells`: with reach 1, the tiles of factories."""
    mask = np.zeros((size, size), bool)
    for x, y in cells:
        mask[max(x - reach, 0) : x + reach + 1, max(y - reach, 0) : y + reach + 1] = True
    return mask
