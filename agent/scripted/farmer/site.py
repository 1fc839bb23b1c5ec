"""Where the farmer puts its factories: beside ice, amid ground that costs little to clear, with ore in walking distance."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from agent.scripted.paths import enter_cost, footprint, walk_to
from agent.scripted.placement import mean_around
from agent.scripted.protocol import FACTION, View

FAR = 600.0  # power beyond which a way counts no more
ICE_WEIGHT = 1 / 4  # a flat tile against power on the way to the ice, which is walked all game long
ORE_WEIGHT = 1 / 25
FLAT_RUBBLE = 30.0  # rubble at which ground is worth 1 / e of a flat tile
REACHES = ((3, 0.5), (5, 0.3), (8, 0.2))  # squares of this reach around the centre, and what a tile in them counts
SHARED = 0.1  # what ground near another factory is worth


def nearest_walk(resource: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Power [W, W] of a heavy robot from the footprint of a factory centred on each cell to the nearest resource."""
    field = np.pad(np.minimum(walk_to(resource > 0, cost), FAR), 2, mode="constant", constant_values=FAR)
    size = len(resource)
    best = np.full((size, size), FAR)
    for dx in range(-2, 3):
        for dy in range(-2, 3):
            if abs(dx) + abs(dy) < 4:  # the corners of the square do not touch the footprint
                best = np.minimum(best, field[2 + dx : 2 + dx + size, 2 + dy : 2 + dy + size])
    return best


def ground_value(boards: Dict[str, np.ndarray], shared: np.ndarray) -> np.ndarray:
    """How much of the ground [W, W] around each cell can be farmed, in flat tiles; ground `shared` with others counts less."""
    value = np.exp(-boards["rubble"] / FLAT_RUBBLE) * (boards["ice"] == 0) * (boards["ore"] == 0)
    value = value * np.where(shared, SHARED, 1.0)
    total = np.zeros(value.shape)
    for reach, weight in REACHES:
        # the mean repeats the edge of the map outwards; ground off the map is worth nothing
        padded = mean_around(np.pad(value, reach), reach)[reach:-reach, reach:-reach]
        total += weight * (2 * reach + 1) ** 2 * padded
    return total


def scores(view: View) -> np.ndarray:
    """The worth [W, W] of a factory on each cell, in flat tiles; minus infinity where none may stand."""
    boards = view.boards
    size = len(boards["rubble"])
    heavy = view.env_cfg["ROBOTS"]["HEAVY"]
    closed = np.zeros((size, size), bool)
    centres = [factory["pos"] for player in (view.player, view.opponent) for factory in view.factories(player).values()]
    cost = enter_cost(boards["rubble"], heavy["MOVE_COST"], heavy["RUBBLE_MOVEMENT_COST"], closed)
    near = footprint(centres, size, 8)
    ice = (boards["ice"] > 0) & ~footprint(centres, size, 3)  # what is nearer belongs to the factory there
    score = ground_value(boards, near)
    score -= ICE_WEIGHT * nearest_walk(ice, cost)
    score -= ORE_WEIGHT * nearest_walk(boards["ore"], cost)
    return np.where(boards["valid_spawns_mask"], score, -np.inf)


def opening(view: View) -> Dict[str, Any]:
    """The order of a turn before the game itself: no bid, then `placement`."""
    return {"faction": FACTION, "bid": 0} if view.step == 0 else placement(view)


def placement(view: View) -> Dict[str, Any]:
    """The placement order of this turn: an equal share of water and metal on the best cell, `{}` when not in turn."""
    if not view.my_turn_to_place() or not view.boards["valid_spawns_mask"].any():
        return {}
    score = scores(view)
    x, y = np.unravel_index(score.argmax(), score.shape)
    share = view.team["factories_to_place"]
    return {"spawn": [int(x), int(y)], "water": view.team["water"] // share, "metal": view.team["metal"] // share}
