"""The farmer.

Strategy. Lichen is the score and also the power plant: each tile gives its factory a unit of power a turn. A factory
is placed amid flat ground beside ice. It builds a heavy robot, which digs ice for the whole game, and lights, which
clear rubble from the walls outwards, cheapest tiles first. Water goes to the lichen as soon as the factory can spare
it. When the water is safe a heavy fetches ore, and the metal becomes more heavies (ice, ore, rubble in that order of
need) and more lights. In the last turns nothing is kept back.

Robots plan a whole trip when their queue has run empty (hand over, charge, walk, dig, walk back) and then let it run,
since rewriting a queue costs power. They enter no cell where somebody stood at the start of the turn or where another
is going, and stay out of the reach of enemies that could destroy them.
"""

from __future__ import annotations

from typing import AbstractSet, Any, Dict, FrozenSet, List, NamedTuple, Optional

import numpy as np

from agent.scripted.farmer.ground import steps_to_wall
from agent.scripted.farmer.site import opening
from agent.scripted.farmer.turn import Factory, Plan, Robot, Turn, Walks, distance, goes_on, is_moving, step_to
from agent.scripted.paths import (
    CLOSED,
    DIG,
    ICE,
    MOVE,
    ORE,
    PICKUP,
    POWER,
    TRANSFER,
    Cell,
    lowest,
    moves,
    neighbours,
    route_from,
    route_to,
)
from agent.scripted.protocol import View

BUILD_LIGHT, BUILD_HEAVY, WATER = 0, 1, 2
SPARE = {False: 10, True: 80}  # power kept back on a trip, by heaviness: an update of the queue and a step aside
SAFE_WATER = 50  # what watering leaves to a factory at least
LATE = 20  # turns by which ice may come late
ICE_TRIP = 30  # turns until a robot that is home brings ice
ORE_WATER = 150  # water from which the only heavy of a factory may fetch ore
REST = 4  # turns for which a robot without a plan is left alone
CROWD = 4  # robots on a factory's tiles from which others stay away
FAR = 10  # steps from the walls up to which rubble is cleared
FIRST_LIGHTS = 2
LIGHTS, HEAVIES = 8, 5  # robots a factory wants
RICH = 3000  # power from which a factory builds whatever it has metal for
LAST_BUILD = 150  # turns before the end from which nothing is built
LAST_CLEARING = 30
DOOR, FOREIGN = 3, 1500  # steps from a factory within which a tile is its own, and what digging there costs others


class Habits(NamedTuple):
    """What farms differ in; the defaults are the farmer's."""

    heavy_power: int = 70
    """Power a turn that a factory needs for each heavy."""
    trip_power: int = 500
    """Power with which a heavy leaves home at the least, while there is water."""
    flees_home: bool = False
    """Robots that are chased go home, step by step; else they walk onto the enemy, and may change places with it until their
    power is used up."""


FARMER = Habits()
NOBODY: FrozenSet[str] = frozenset()


class Farm:
    """What is kept between turns: each robot's factory, its last job, the cell it digs, the turn in
    which it last gave way, the one until which it rests because there
    was nothing to do, and the one in which its trip ends."""

    def __init__(self, habits: Habits = FARMER) -> None:
        self.habits = habits
        self.home: Dict[str, str] = {}
        self.job: Dict[str, str] = {}
        self.target: Dict[str, Cell] = {}
        self.waited: Dict[str, int] = {}
        self.rests: Dict[str, int] = {}
        self.back: Dict[str, int] = {}

    def books(self) -> Dict[str, Dict[str, Any]]:
        """All of them by name, each by robot."""
        return {name: getattr(self, name) for name in ("home", "job", "target", "waited", "rests", "back")}

    def drop_trips(self, robots: AbstractSet[str]) -> None:
        """Forget what these robots were about to do, so that others can do it; they keep their homes."""
        for name in robots:
            for book in (self.job, self.target, self.back):
                book.pop(name, None)

    @property
    def memory(self) -> Dict[str, Dict[str, Any]]:
        """All of them, copied; can be set."""
        return {name: dict(book) for name, book in self.books().items()}

    @memory.setter
    def memory(self, memory: Dict[str, Dict[str, Any]]) -> None:
        for name, book in self.books().items():
            book.clear()
            book.update(memory[name])


def act(farm: Farm, view: View) -> Dict[str, Any]:
    """The judge's action of this turn."""
    if view.real_step < 0:
        return opening(view)
    turn = Turn(view)
    work(farm, turn)
    return turn.orders


def work(farm: Farm, turn: Turn, away: AbstractSet[str] = NOBODY) -> None:
    """Write the orders of all robots and factories; the robots named in `away` have theirs, but stay with their farms."""
    assign_homes(farm, turn)
    planners: List[Robot] = []
    for robot in turn.robots.values():
        if robot.name in away:
            continue
        if turn.danger[robot.heavy][robot.cell] and dodge(farm, turn, robot):
            continue
        if not robot.queue or not goes_on(turn, robot):
            planners.append(robot)
    for robot in planners:
        if waits(farm, turn, robot):
            turn.order(robot, [[MOVE, 0, 0, 0, 0, 1]] + robot.queue)
        elif robot.name in farm.home and (robot.queue or farm.rests.get(robot.name, 0) <= turn.now):
            trip = plan(farm, turn, robot)
            turn.order(robot, trip)
            farm.back[robot.name] = turn.now + sum(entry[5] for entry in trip)
            if not trip:
                farm.rests[robot.name] = turn.now + REST
    for factory in turn.factories.values():
        order = factory_order(farm, turn, factory)
        if order is not None:
            turn.orders[factory.name] = order


def assign_homes(farm: Farm, turn: Turn) -> None:
    """Every robot works for a living factory; a factory without a heavy gets one from a factory that has several."""
    for name in [name for name in farm.home if name not in turn.robots]:
        for book in farm.books().values():
            book.pop(name, None)
    if not turn.factories:
        farm.home.clear()
        return
    for name, robot in turn.robots.items():
        if farm.home.get(name) not in turn.factories:
            farm.home[name] = min(turn.factories, key=lambda f: distance(robot.cell, turn.factories[f].cell))
    for factory in turn.factories.values():
        if workers(farm, turn, factory, True) or factory.metal >= 100:
            continue
        others = [other for other in turn.factories.values() if len(workers(farm, turn, other, True)) > 1]
        if others:
            giver = min(others, key=lambda other: distance(other.cell, factory.cell))
            farm.home[workers(farm, turn, giver, True)[-1].name] = factory.name


def workers(farm: Farm, turn: Turn, factory: Factory, heavy: bool) -> List[Robot]:
    """The robots of a kind that work for this factory, oldest first."""
    return [robot for robot in turn.robots.values() if farm.home[robot.name] == factory.name and robot.heavy == heavy]


def dodge(farm: Farm, turn: Turn, robot: Robot) -> bool:
    """Get out of the way of an enemy that could destroy the robot, or run into it; False to do as planned."""
    if robot.power < robot.update_cost + robot.kind["MOVE_COST"]:
        return False
    if is_moving(robot) and turn.free(robot, step_to(robot.cell, robot.queue[0][1])):
        return False
    budget = robot.power - robot.update_cost
    home = turn.factories.get(farm.home.get(robot.name, "")) if farm.habits.flees_home else None
    options = []
    for direction, cell in neighbours(robot.cell, turn.size):
        price = robot.kind["MOVE_COST"] + robot.kind["RUBBLE_MOVEMENT_COST"] * turn.rubble[cell]
        if price <= budget and cell not in turn.taken and not turn.walls[cell]:
            attack = any(enemy.cell == cell and enemy.heavy <= robot.heavy for enemy in turn.enemies.values())
            if attack or not turn.danger[robot.heavy][cell]:
                away = 0 if home is None else distance_to(home, cell)
                options.append((not turn.own_tiles[cell], away, not attack, price, direction))
    if not options:
        return False
    turn.order(robot, [[MOVE, min(options)[-1], 0, 0, 0, 1]])
    return True


def waits(farm: Farm, turn: Turn, robot: Robot) -> bool:
    """Whether the robot is only held up by somebody who is about to move on; it waits for one turn at a time."""
    if not is_moving(robot) or farm.waited.get(robot.name) == turn.now - 2:
        return False
    cell = step_to(robot.cell, robot.queue[0][1])
    other = turn.stands.get(cell)
    if other is None or not turn.leaves(other) or step_to(cell, other.queue[0][1]) == robot.cell:
        return False
    if turn.walls[cell] or turn.danger[robot.heavy][cell]:
        return False
    farm.waited[robot.name] = turn.now
    return True


def plan(farm: Farm, turn: Turn, robot: Robot) -> Plan:
    """The queue of the next trip, or of what is left of this one; empty to stay."""
    home = turn.factories[farm.home[robot.name]]
    prefix: Plan = []
    charge = 0
    inside = next((f for f in turn.factories.values() if distance_to(f, robot.cell) == 0), None)
    if inside is not None:
        for resource, name in ((ICE, "ice"), (ORE, "ore")):
            if robot.cargo[name] > 0:
                prefix.append([TRANSFER, 0, resource, int(robot.kind["CARGO_SPACE"]), 0, 1])
        room = int(robot.kind["BATTERY_CAPACITY"]) - robot.power + robot.update_cost
        charge = max(min(inside.power - kept_power(turn, inside, robot), room), 0)
    power = robot.power - robot.update_cost
    if power + charge < robot.kind["DIG_COST"] * 2:
        return prefix
    trip = (
        heavy_trip(farm, turn, robot, home, power, charge, inside)
        if robot.heavy
        else light_trip(farm, turn, robot, home, power, charge, inside)
    )
    if trip and inside is not None and charge > 0:
        inside.power -= charge
        prefix.append([PICKUP, 0, POWER, charge, 0, 1])
    return prefix + trip


def distance_to(factory: Factory, cell: Cell) -> int:
    """Steps from a cell to the factory's tiles."""
    return max(abs(cell[0] - factory.cell[0]) - 1, 0) + max(abs(cell[1] - factory.cell[1]) - 1, 0)


def kept_power(turn: Turn, factory: Factory, robot: Robot) -> int:
    """Power that a robot leaves to the factory: lights leave some to the heavies when water is short."""
    return 500 if not robot.heavy and factory.water < 80 and turn.now > 20 else 0


def light_trip(farm: Farm, turn: Turn, robot: Robot, home: Factory, power: int, charge: int, inside: Optional[Factory]) -> Plan:
    """Walk to the best rubble and clear it; home when the power is used up, out of the way when there is nothing to do."""
    if inside is not None and power + charge < 50:
        return [] if turn.crowd(inside) < CROWD else park(turn, robot, turn.walks(robot, home, FAR))
    walks = turn.walks(robot, home, FAR)
    trip = clearing(farm, turn, robot, home, walks, power + charge)
    if trip:
        return trip
    works = inside is None and home.power >= 100 and np.isfinite(turn.prices(home, FAR)).any()
    if works and turn.crowd(home) < CROWD:
        return way_home(robot, walks)
    return park(turn, robot, walks)


def park(turn: Turn, robot: Robot, walks: Walks) -> Plan:
    """To the nearest cell where a robot with nothing to do is in nobody's way; empty if it stands there."""
    x, y = robot.cell[0] - walks.origin[0], robot.cell[1] - walks.origin[1]
    busy = turn.busy[walks.part]
    if not busy[x, y]:
        return []
    price = np.where(busy, CLOSED, walks.out)
    spot = lowest(price)
    return moves(route_from(walks.out, walks.cost, spot)) if price[spot] < CLOSED else []


def heavy_trip(farm: Farm, turn: Turn, robot: Robot, home: Factory, power: int, charge: int, inside: Optional[Factory]) -> Plan:
    """Dig what the factory needs most."""
    if inside is not None and power + charge < farm.habits.trip_power and home.water > 40:
        return []
    walks = turn.walks(robot, home, turn.size)
    for job in jobs(farm, turn, robot, home) if inside is not None else [farm.job.get(robot.name, "ice")]:
        if job == "rubble":
            trip = clearing(farm, turn, robot, home, walks, power + charge)
        else:
            trip = mining(farm, turn, robot, home, walks, power + charge, job, inside is None)
        if trip:
            farm.job[robot.name] = job
            return trip
    return [] if inside is not None else way_home(robot, walks)


def jobs(farm: Farm, turn: Turn, robot: Robot, home: Factory) -> List[str]:
    """What a heavy at home could do, in the order of need."""
    others = [farm.job.get(other.name) for other in workers(farm, turn, home, True) if other is not robot]
    growth = turn.growth(home)
    water = home.water + home.ice // 4
    need = 1 + growth.tiles / 10.0
    if water >= need * turn.left:
        return ["rubble", "ice"]
    wants_metal = turn.left > LAST_BUILD + 60 and home.metal + home.ore // 5 < 100 and len(others) + 1 < HEAVIES and "ore" not in others
    supplied = 4 * others.count("ice") >= need / 2
    if wants_metal and (water > ORE_WATER if not others else supplied and water > 50):
        return ["ore", "ice", "rubble"]
    return ["ice", "rubble"] if water > 100 else ["ice"]


def mining(farm: Farm, turn: Turn, robot: Robot, home: Factory, walks: Walks, power: int, job: str, outside: bool) -> Plan:
    """To the cheapest tile of this resource, dig, and home; empty if no trip is worth it."""
    kind = robot.kind
    board = turn.ice if job == "ice" else turn.ore
    used = {cell for other, cell in farm.target.items() if other != robot.name}
    x0, y0 = walks.origin
    part, width = walks.part, len(walks.cost)
    clear = -(-turn.rubble[part] // kind["DIG_RUBBLE_REMOVED"])
    way = walks.out + walks.back
    price = np.where((board[part] > 0) & (way < CLOSED), way + clear * kind["DIG_COST"], CLOSED)
    own = steps_to_wall(home.cell, turn.size)
    for other in turn.factories.values():  # each factory digs the tiles at its own door
        theirs = steps_to_wall(other.cell, turn.size)
        price[((theirs <= DOOR) & (theirs < own))[part]] += FOREIGN
    for x, y in used:
        if 0 <= x - x0 < width and 0 <= y - y0 < width:
            price[x - x0, y - y0] = CLOSED
    spot = lowest(price)
    if price[spot] >= CLOSED:
        return []
    room = -(-(kind["CARGO_SPACE"] - robot.cargo[job]) // kind["DIG_RESOURCE_GAIN"])
    digs = min((power - int(way[spot]) - SPARE[True]) // kind["DIG_COST"], int(clear[spot]) + room)
    others = [farm.job.get(other.name) for other in workers(farm, turn, home, True) if other is not robot]
    if job == "ore" and not outside:  # a trip that pays for a heavy, or none
        need = -(-(100 - home.metal) * 5 // kind["DIG_RESOURCE_GAIN"])
        if digs < int(clear[spot]) + min(need, room):
            return []
    if "ice" not in others:  # back before the water is used up
        rate = 1 + turn.growth(home).tiles // 10 if job == "ice" else 1
        lasts = (home.water + home.ice // 4 + robot.cargo["ice"] // 4) // rate
        digs = min(digs, max(lasts - 15 - int(way[spot]) // 20, int(clear[spot]) + 12))
    worth = 1 if outside or home.water < 30 else 6
    if room == 0 or digs < int(clear[spot]) + worth:
        return []
    farm.target[robot.name] = (spot[0] + x0, spot[1] + y0)
    there = moves(route_from(walks.out, walks.cost, spot)) + [[DIG, 0, 0, 0, 0, int(digs)]]
    return (
        there
        + moves(route_to(walks.back, walks.cost, spot))
        + [[TRANSFER, 0, ICE if job == "ice" else ORE, int(kind["CARGO_SPACE"]), 0, 1]]
    )


def clearing(farm: Farm, turn: Turn, robot: Robot, home: Factory, walks: Walks, power: int) -> Plan:
    """To the rubble that costs least to clear, and dig it away; empty if nothing is in reach of this power."""
    if turn.left < LAST_CLEARING:
        return []
    kind = robot.kind
    used = {cell for other, cell in farm.target.items() if other != robot.name}
    x0, y0 = walks.origin
    part, width = walks.part, len(walks.cost)
    prices = turn.prices(home, FAR)[part]
    way = walks.out + walks.back
    reachable = way + SPARE[robot.heavy] + 3 * kind["DIG_COST"] <= power
    total = np.where(reachable, prices + 2.0 * walks.out / kind["MOVE_COST"], np.inf)
    for x, y in used:
        if 0 <= x - x0 < width and 0 <= y - y0 < width:
            total[x - x0, y - y0] = np.inf
    spot = lowest(total)
    if not np.isfinite(total[spot]):
        return []
    need = -(-int(turn.rubble[part][spot]) // kind["DIG_RUBBLE_REMOVED"])
    digs = min(need, (power - int(way[spot]) - SPARE[robot.heavy]) // kind["DIG_COST"])
    farm.target[robot.name] = (spot[0] + x0, spot[1] + y0)
    return moves(route_from(walks.out, walks.cost, spot)) + [[DIG, 0, 0, 0, 0, int(digs)]]


def way_home(robot: Robot, walks: Walks) -> Plan:
    """The walk to the factory, empty if there is none."""
    here = (robot.cell[0] - walks.origin[0], robot.cell[1] - walks.origin[1])
    return moves(route_to(walks.back, walks.cost, here)) if walks.back[here] < CLOSED else []


def factory_order(farm: Farm, turn: Turn, factory: Factory) -> Optional[int]:
    """Build, water, or nothing."""
    if turn.left > LAST_BUILD and factory.cell not in turn.stands:
        heavies = len(workers(farm, turn, factory, True))
        lights = len(workers(farm, turn, factory, False))
        power = 50 + turn.growth(factory).own
        paid = heavies == 0 or (
            heavies < HEAVIES and lights >= FIRST_LIGHTS and (power >= farm.habits.heavy_power * heavies or factory.power >= RICH)
        )
        if paid and factory.metal >= 100 and factory.power >= 500:
            return BUILD_HEAVY
        wanted = LIGHTS if heavies > 1 else FIRST_LIGHTS
        if heavies > 0 and lights < wanted and factory.metal >= 10 and factory.power >= 100:
            return BUILD_LIGHT
    if wants_water(farm, turn, factory):
        return WATER
    return None


def kept_water(farm: Farm, turn: Turn, factory: Factory) -> int:
    """What watering leaves: the drink until more ice comes, or until the end if nobody brings any."""
    heavies = workers(farm, turn, factory, True)
    if not heavies:
        return turn.left
    comes = [farm.back.get(robot.name, turn.now) + (0 if farm.job.get(robot.name) == "ice" else ICE_TRIP) for robot in heavies]
    return min(max(min(comes) - turn.now + LATE, SAFE_WATER), turn.left)


def wants_water(farm: Farm, turn: Turn, factory: Factory) -> bool:
    """Whether to water now: the factory can spare it, and few tiles are full or there is water in plenty."""
    kept = kept_water(farm, turn, factory)
    if factory.water <= kept:
        return False
    growth = turn.growth(factory)
    cost = -(-growth.tiles // 10)
    if growth.tiles == 0 or factory.water - cost < kept:
        return False
    return growth.gain >= 1.3 * growth.tiles or factory.water - kept >= cost * min(turn.left, 40)
