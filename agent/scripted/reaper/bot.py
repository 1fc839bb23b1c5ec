"""The reaper.

Strategy. The game is the farmer's until the last turns. Then heavies are worth more on the enemy's fields than on the
own: a dig of a heavy takes all the lichen of a tile, and leaves rubble on which nothing grows again. So in the last
turns lights, and heavies that are not needed for ice, charge, walk to enemy lichen and dig it up, tile
after tile, and do not come back. Enemy heavies that come for its own lichen are attacked in every turn of the game.

Its farm spends power less freely: it waits for a larger load before a trip and for more lichen before another heavy.
Robots that are chased go home; the farmer's change places with who chases them until their power is used up.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Set

import numpy as np

from agent.scripted.farmer.bot import Farm, Habits, distance_to, work
from agent.scripted.farmer.site import opening
from agent.scripted.farmer.turn import Plan, Robot, Turn, is_moving, step_to
from agent.scripted.paths import CLOSED, DIG, PICKUP, POWER, Cell, lowest, moves, route_from, walk_from
from agent.scripted.protocol import View
from agent.scripted.raider.bot import costs, digs_lichen
from agent.scripted.reaper.guard import drive_off

HABITS = Habits(heavy_power=120, trip_power=1000, flees_home=True)
LAST = 60  # turns before the end from which robots reap
CHARGE, LEAST = 0.8, 0.3  # of the battery: up to which a reaper charges, and with which it leaves at the least
POOR = 0.3  # power that a unit of lichen less on a tile is worth
NEAR = 3  # steps to its tile within which it looks every turn whether another one is better


class Reap:
    """What is kept between turns: the farm and the names of the reapers."""

    def __init__(self) -> None:
        self.farm = Farm(HABITS)
        self.reapers: Set[str] = set()

    @property
    def memory(self) -> Dict[str, Any]:
        """The farm's books and the reapers, copied; can be set."""
        return {"farm": self.farm.memory, "reapers": sorted(self.reapers)}

    @memory.setter
    def memory(self, memory: Dict[str, Any]) -> None:
        self.farm.memory = memory["farm"]
        self.reapers = set(memory["reapers"])


def act(reap: Reap, view: View) -> Dict[str, Any]:
    """The judge's action of this turn."""
    if view.real_step < 0:
        return opening(view)
    turn = Turn(view)
    recruit(reap, turn)
    guards = drive_off(turn, list(turn.robots.values()))
    reapers = [turn.robots[name] for name in sorted(reap.reapers - guards)]
    reap.farm.drop_trips(guards)
    for name in reap.reapers:  # the farm works without them
        del turn.robots[name]
    used: Set[Cell] = set()
    for robot in reapers:
        plan = next_plan(turn, robot, used)
        if plan is None:
            turn.reserve(robot, robot.queue)
        else:
            turn.order(robot, plan)
    work(reap.farm, turn, guards)
    return turn.orders


def recruit(reap: Reap, turn: Turn) -> None:
    """Forget the dead, and in the last turns take lights, heavies that dig no ice, and others whose factory has water until the end."""
    reap.reapers &= set(turn.robots)
    for robot in turn.robots.values():
        home = turn.factories.get(reap.farm.home.get(robot.name, ""))
        if home is None or turn.left > LAST:
            continue
        if robot.name not in reap.reapers:
            drink = (1 + turn.growth(home).tiles / 10) * turn.left
            if not robot.heavy or reap.farm.job.get(robot.name, "ice") != "ice" or home.water >= drink:
                reap.reapers.add(robot.name)


def next_plan(turn: Turn, robot: Robot, used: Set[Cell]) -> Optional[Plan]:
    """The reaper's new queue, None to let the old one run; `used` are the tiles that others go for."""
    power, battery = robot.power - robot.update_cost, int(robot.kind["BATTERY_CAPACITY"])
    inside = next((f for f in turn.factories.values() if distance_to(f, robot.cell) == 0), None)
    if inside is not None and power < CHARGE * battery:
        charge = min(inside.power, battery - power)
        if charge > 0 and power + charge >= LEAST * battery:
            inside.power -= charge
            return [[PICKUP, 0, POWER, charge, 0, 1]]
    dig = int(robot.kind["DIG_COST"])
    if digs_lichen(turn, robot) and power >= dig:
        return None if robot.queue and robot.queue[0][0] == DIG else [[DIG, 0, 0, 0, 0, 1]]
    cost = costs(turn, robot)
    out = walk_from(robot.cell, cost)
    lichen = turn.boards["lichen"]
    ripe = (lichen > 0) & np.isin(turn.boards["lichen_strains"], [foe.number for foe in turn.foes.values()])
    price = np.where(ripe & (out > 0) & (out + dig <= power) & (out < CLOSED), out + POOR * (100 - lichen), np.inf)
    for cell in used:
        price[cell] = np.inf
    spot = lowest(price)
    if not np.isfinite(price[spot]):
        return [] if robot.queue else None
    used.add(spot)
    route = route_from(out, cost, spot)
    follows = is_moving(robot) and len(route) > NEAR and cost[step_to(robot.cell, robot.queue[0][1])] < CLOSED
    return None if follows else moves(route)
