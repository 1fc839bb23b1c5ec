"""The ground around a factory: what lichen costs and brings, and which rubble to clear next."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agent.scripted.paths import Cell, connected

SPREAD_FROM = 20  # lichen on a tile from which it spreads, by the rules
FULL = 100  # the most lichen a tile can hold


class Growth(NamedTuple):
    """What watering does now: tiles it reaches, own tiles among them, and the lichen gained over not watering."""

    tiles: int
    own: int
    gain: int


def steps_to_wall(centre: Cell, size: int) -> np.ndarray:
    """Steps [W, W] from each cell to the nearest tile of a factory."""
    along = np.arange(size)
    dx = np.maximum(np.abs(along - centre[0]) - 1, 0)
    dy = np.maximum(np.abs(along - centre[1]) - 1, 0)
    return dx[:, None] + dy[None, :]


def beside(mask: np.ndarray) -> np.ndarray:
    """Cells [W, W] with a neighbour in `mask` [W, W]."""
    found = np.zeros_like(mask)
    found[1:] |= mask[:-1]
    found[:-1] |= mask[1:]
    found[:, 1:] |= mask[:, :-1]
    found[:, :-1] |= mask[:, 1:]
    return found


def growth(number: int, centre: Cell, soil: bytes, lichen: bytes, owner: bytes, width: int) -> Growth:
    """The flood fill of the official engine for factory `number`.

    Boards are bytes with a border of one: cell [x, y] is at `(x + 1) * width + y + 1`. `soil` is 1 where lichen can grow,
    `owner` the number of the factory whose lichen or walls are there plus 1, or 0.
    """
    mine = number + 1
    x, y = centre[0] + 1, centre[1] + 1
    border = [(x - 2, y + d) for d in (-1, 0, 1)] + [(x + 2, y + d) for d in (-1, 0, 1)]
    border += [(x + d, y - 2) for d in (-1, 0, 1)] + [(x + d, y + 2) for d in (-1, 0, 1)]
    found = [a * width + b for a, b in border if 0 < a < width - 1 and 0 < b < width - 1]
    seen = set(found)
    tiles = own = gain = 0
    for cell in found:  # grows while it is read
        if not soil[cell]:
            continue
        here = owner[cell]
        rich = lichen[cell] >= SPREAD_FROM
        free = True
        for near in (cell - 1, cell + 1, cell - width, cell + width):
            other = owner[near]
            if other and other != mine:
                free = False
            elif near not in seen and (here == mine if other else rich):
                seen.add(near)
                found.append(near)
        if free or here == mine:
            tiles += 1
            own += here == mine
            gain += min(2, FULL + 1 - lichen[cell])
    return Growth(tiles, own, gain)


def cleared(centre: Cell, open_ground: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """The open ground [W, W] that lichen of the factory can reach without any more clearing, within `reach` [W, W]."""
    x, y = centre
    found = np.zeros_like(open_ground)
    found[max(x - 1, 0) : x + 2, max(y - 1, 0) : y + 2] = True
    return connected(found, open_ground & reach)


def clearing_prices(rubble: np.ndarray, soil: np.ndarray, centre: Cell, far: int) -> np.ndarray:
    """What each cell [W, W] costs to clear, in rubble, infinite where it makes no sense.

    Only rubble beside ground that lichen reaches already makes sense, up to `far` steps from the walls. A tile costs its
    rubble and something for being far away, less what open ground behind it is worth.
    """
    away = steps_to_wall(centre, len(rubble))
    near = away <= far
    open_ground = soil & (rubble == 0)
    reached = cleared(centre, open_ground, away <= far + 4)
    candidates = beside(reached) & soil & (rubble > 0) & near
    behind = open_ground & ~reached
    opened = np.zeros(rubble.shape, np.int32)
    opened[1:] += behind[:-1]
    opened[:-1] += behind[1:]
    opened[:, 1:] += behind[:, :-1]
    opened[:, :-1] += behind[:, 1:]
    return np.where(candidates, rubble + 3.0 * away - 15.0 * opened, np.inf)
