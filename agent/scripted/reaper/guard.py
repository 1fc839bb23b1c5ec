"""Heavies that drive intruders off the fields."""

from __future__ import annotations

from typing import List, Optional, Set, Tuple

import numpy as np

from agent.scripted.farmer.turn import Plan, Robot, Turn, distance, square_around
from agent.scripted.paths import CLOSED, Cell, enter_cost, moves, neighbours, route_from, walk_from

REACH = 6  # steps from an intruder within which a heavy turns on it
LEAST = 150  # power with which a heavy turns on anybody
DETOUR = 4  # columns and rows of the map around both in which it looks for a way


def drive_off(turn: Turn, candidates: List[Robot]) -> Set[str]:
    """Send heavies among the candidates against enemy heavies on or beside own lichen, at most one each; their names.

    A heavy that walks onto one that stands still destroys it; of two that meet, the one with less power is lost. So who
    has as much power goes for the intruder, and who stands next to it strikes in any case.
    """
    heavies = [robot for robot in candidates if robot.heavy and robot.power >= LEAST]
    sent: Set[str] = set()
    for enemy in intruders(turn):
        if enemy.cell in turn.taken:  # by another guard, who walks there
            continue
        found: Optional[Tuple[int, int, int]] = None
        for number, robot in enumerate(heavies):
            steps = distance(robot.cell, enemy.cell)
            if robot.name not in sent and 0 < steps <= REACH and (steps == 1 or robot.power >= enemy.power):
                found = min(found or (steps, -robot.power, number), (steps, -robot.power, number))
        if found is None:
            continue
        robot = heavies[found[2]]
        plan = way_to(turn, robot, enemy.cell)
        if plan is not None:
            sent.add(robot.name)
            turn.order(robot, plan)
            turn.reserve(robot, plan)
    return sent


def intruders(turn: Turn) -> List[Robot]:
    """Enemy heavies on or beside own lichen, those that are safe on their factories left out."""
    strains = [factory.number for factory in turn.factories.values()]
    own = np.isin(turn.boards["lichen_strains"], strains) & (turn.boards["lichen"] > 0)
    found = []
    for enemy in turn.enemies.values():
        if enemy.heavy and not turn.foe_tiles[enemy.cell]:
            if own[enemy.cell] or any(own[cell] for _, cell in neighbours(enemy.cell, turn.size)):
                found.append(enemy)
    return found


def way_to(turn: Turn, robot: Robot, end: Cell) -> Optional[Plan]:
    """The cheapest walk there, round friends nearby; None if there is none or it takes more than the robot's power."""
    closed = turn.walls.copy()
    for cell in turn.taken:
        if distance(cell, robot.cell) <= 2:
            closed[cell] = True
    closed[robot.cell] = closed[end] = False
    span, low = square_around(robot.cell, end, DETOUR, turn.size)
    part = (slice(low[0], low[0] + span), slice(low[1], low[1] + span))
    cost = enter_cost(turn.rubble[part], robot.kind["MOVE_COST"], robot.kind["RUBBLE_MOVEMENT_COST"], closed[part])
    here, there = ((cell[0] - low[0], cell[1] - low[1]) for cell in (robot.cell, end))
    out = walk_from(here, cost)
    if out[there] >= CLOSED or out[there] > robot.power - robot.update_cost:
        return None
    return moves(route_from(out, cost, there))
