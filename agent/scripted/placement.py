"""Where a hand-written opponent puts its factories: beside ice that no other factory has, where rubble is low."""

from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np

from agent.scripted.protocol import View

RUBBLE_WEIGHT = 0.3  # a rubble point of the surroundings against a point of walking cost
SECOND_ICE_WEIGHT = 4.0


def steps_between(factories: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Steps [F, C] between the tiles of factories with centres [F, 2] and cells [C, 2]."""
    apart = np.maximum(np.abs(factories[:, None, :] - cells[None, :, :]) - 1, 0)
    return apart.sum(axis=2)


def free_ice(view: View) -> np.ndarray:
    """Ice cells [I, 2] without the nearest one of each factory on the map, which is taken to be in use."""
    ice = np.argwhere(view.boards["ice"] > 0)
    centres = [factory["pos"] for player in (view.player, view.opponent) for factory in view.factories(player).values()]
    for centre in centres:
        if len(ice) > 1:
            steps = steps_between(np.array([centre]), ice)[0]
            ice = np.delete(ice, steps.argmin(), axis=0)
    return ice


def mean_around(board: np.ndarray, reach: int) -> np.ndarray:
    """Mean [W, W] of the square of 2 * reach + 1 cells around each cell, by summed areas; the edge repeats outwards."""
    padded = np.pad(board.astype(np.float64), reach, mode="edge")
    total = np.pad(padded, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    width = 2 * reach + 1
    return (total[width:, width:] - total[:-width, width:] - total[width:, :-width] + total[:-width, :-width]) / width**2


def choose_cell(view: View) -> Optional[Tuple[int, int]]:
    """The best free cell for a factory, or None if the map has none left."""
    cells = np.argwhere(view.boards["valid_spawns_mask"])
    if len(cells) == 0:
        return None
    ice = free_ice(view)
    rubble = mean_around(view.boards["rubble"], 3)[cells[:, 0], cells[:, 1]]
    score = -RUBBLE_WEIGHT * rubble
    if len(ice):
        ice_rubble = view.boards["rubble"][ice[:, 0], ice[:, 1]]
        # a step to the ice costs a heavy its move and the rubble on the way, there and back, for the whole game
        cost = np.sort(steps_between(cells, ice) * (20.0 + rubble[:, None]) + 0.2 * ice_rubble[None, :], axis=1)
        score = score - cost[:, 0]
        if len(ice) > 1:
            score = score - SECOND_ICE_WEIGHT * np.minimum(cost[:, 1], 400.0) / 20.0
    best = cells[score.argmax()]
    return int(best[0]), int(best[1])


def placement(view: View) -> dict:
    """The placement order of this turn: an equal share of water and metal on the best cell, `{}` when not in turn."""
    if not view.my_turn_to_place():
        return {}
    cell = choose_cell(view)
    if cell is None:
        return {}
    share = view.team["factories_to_place"]
    spawn: List[int] = [cell[0], cell[1]]
    return {"spawn": spawn, "water": view.team["water"] // share, "metal": view.team["metal"] // share}
