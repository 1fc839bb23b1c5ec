"""The raider.

Strategy. The economy is the farmer's. From turn `FIRST_RAID` on a factory that has more than `KEPT_HEAVIES` heavies
sends the youngest away to raid: it charges, walks towards the enemy robot that is cheapest to reach among those that it
destroys by walking onto them, and comes home to charge. A heavy that enters a cell alone destroys whatever stands
there, and of two heavies that meet in it the one with more power lives; so lights are always prey, and heavies that have
less power. Enemy robots on their own factory are safe from it. Late in the game, and where there is no prey, it digs up
enemy lichen, which a heavy destroys a tile at a time.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Set

import numpy as np

from agent.scripted.farmer.bot import Farm, distance_to, work
from agent.scripted.farmer.site import opening
from agent.scripted.farmer.turn import Plan, Robot, Turn, danger, distance, is_moving, step_to
from agent.scripted.paths import (
    CLOSED,
    DIG,
    PICKUP,
    POWER,
    enter_cost,
    lowest,
    moves,
    route_from,
    route_to,
    walk_from,
    walk_to,
)
from agent.scripted.protocol import View

FIRST_RAID = 120
KEPT_HEAVIES = 2  # heavies of a factory that stay with the farm
RAIDERS = 6
LICHEN_TURNS = 300  # turns before the end from which lichen is as good a target as a robot
CHARGE = 1200  # power with which a raider leaves home
SPARE = 150  # power beyond the way home with which it turns back
NEAR = 3  # steps to its prey within which it looks every turn where the prey has gone
PREY = 20  # what a robot is worth more than a tile of lichen, in steps of walking


class Raid:
    """What is kept between turns: the farm and the names of the raiders."""

    def __init__(self) -> None:
        self.farm = Farm()
        self.raiders: Set[str] = set()


def act(raid: Raid, view: View) -> Dict[str, Any]:
    """The judge's action of this turn."""
    if view.real_step < 0:
        return opening(view)
    turn = Turn(view)
    recruit(raid, turn)
    raiders = [turn.robots.pop(name) for name in sorted(raid.raiders)]  # the farm works without them
    if turn.factories:
        for robot in raiders:
            order_raider(turn, robot)
    work(raid.farm, turn)
    return turn.orders


def recruit(raid: Raid, turn: Turn) -> None:
    """Forget the dead, and send the youngest heavy of a factory that has enough."""
    raid.raiders &= set(turn.robots)
    known = raid.farm.home
    for factory in turn.factories.values():
        heavies = [r for r in turn.robots.values() if r.heavy and r.name not in raid.raiders and known.get(r.name) == factory.name]
        if turn.now >= FIRST_RAID and len(heavies) > KEPT_HEAVIES and len(raid.raiders) < RAIDERS:
            youngest = heavies[-1]
            if distance_to(factory, youngest.cell) == 0:
                raid.raiders.add(youngest.name)


def order_raider(turn: Turn, robot: Robot) -> None:
    """Write the raider's queue, if it needs another one."""
    cost = costs(turn, robot)
    out = walk_from(robot.cell, cost)
    back = walk_to(turn.own_tiles, cost)
    plan = next_plan(turn, robot, cost, out, back)
    if plan is None:
        turn.reserve(robot, robot.queue)
    else:
        turn.order(robot, plan)


def costs(turn: Turn, robot: Robot) -> np.ndarray:
    """Power [W, W] to enter each cell; closed are friends nearby and the reach of enemies that win against the robot."""
    strong = [enemy for enemy in turn.enemies.values() if not beats(robot, enemy)]
    closed = turn.walls | danger(turn, strong)[robot.heavy]
    for cell in turn.taken:
        if distance(cell, robot.cell) <= 2:
            closed[cell] = True
    closed[robot.cell] = False
    return enter_cost(turn.rubble, robot.kind["MOVE_COST"], robot.kind["RUBBLE_MOVEMENT_COST"], closed)


def beats(robot: Robot, enemy: Robot) -> bool:
    """Whether the robot destroys the enemy by walking onto it, even if the enemy moves too."""
    if robot.heavy != enemy.heavy:
        return robot.heavy
    return robot.power > enemy.power + 100


def next_plan(turn: Turn, robot: Robot, cost: np.ndarray, out: np.ndarray, back: np.ndarray) -> Optional[Plan]:
    """The raider's new queue; None to let the old one run."""
    power = robot.power - robot.update_cost
    inside = next((f for f in turn.factories.values() if distance_to(f, robot.cell) == 0), None)
    if inside is not None and power < CHARGE:
        charge = min(inside.power, int(robot.kind["BATTERY_CAPACITY"]) - power)
        if power + charge < CHARGE:
            return None if not robot.queue else []
        inside.power -= charge
        return [[PICKUP, 0, POWER, charge, 0, 1]]
    if robot.queue and robot.queue[0][0] == PICKUP and inside is not None:
        return None
    home = int(back[robot.cell])
    if inside is None and power < home + SPARE:
        return moves(route_to(back, cost, robot.cell)) if home < CLOSED else None
    if digs_lichen(turn, robot) and power >= robot.kind["DIG_COST"] + home:
        return None if robot.queue and robot.queue[0][0] == DIG else [[DIG, 0, 0, 0, 0, 1]]
    return hunt(turn, robot, cost, out, back, power)


def digs_lichen(turn: Turn, robot: Robot) -> bool:
    """Whether the robot stands on enemy lichen and nothing threatens it."""
    strains = [foe.number for foe in turn.foes.values()]
    here = robot.cell
    lichen = turn.boards["lichen"][here] > 0 and turn.boards["lichen_strains"][here] in strains
    threats = [enemy for enemy in turn.enemies.values() if enemy.heavy and distance(enemy.cell, here) <= 1]
    return bool(lichen and turn.rubble[here] == 0 and not threats)


def hunt(turn: Turn, robot: Robot, cost: np.ndarray, out: np.ndarray, back: np.ndarray, power: int) -> Optional[Plan]:
    """Walk to the best prey or lichen that leaves power for the way home; None if already on the way."""
    step = int(robot.kind["MOVE_COST"])
    prices = np.full(out.shape, np.inf)
    strains = [foe.number for foe in turn.foes.values()]
    lichen = (turn.boards["lichen"] > 0) & np.isin(turn.boards["lichen_strains"], strains)
    prices[lichen] = out[lichen] + PREY * step * (turn.left > LICHEN_TURNS)
    for enemy in turn.enemies.values():
        if beats(robot, enemy) and not turn.foe_tiles[enemy.cell]:
            prices[enemy.cell] = out[enemy.cell]
    prices[(out + np.minimum(back, CLOSED) + SPARE > power) | (out == 0)] = np.inf
    spot = lowest(prices)
    if not np.isfinite(prices[spot]):
        return [] if robot.queue else None
    route = route_from(out, cost, spot)
    follows = is_moving(robot) and len(route) > NEAR and cost[step_to(robot.cell, robot.queue[0][1])] < CLOSED
    return None if follows else moves(route)
