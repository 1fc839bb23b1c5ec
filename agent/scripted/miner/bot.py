"""The ice miner: each factory builds one heavy robot, which carries ice home for the whole game.

A robot plans a whole trip when its queue is empty (bring the ice in, charge, walk, dig, walk back, bring it in) and
then lets the queue run, since rewriting it costs power. It plans anew only when its next move became dangerous or
has been blocked. A robot whose factory is rich carries water to a factory that is running dry. It never enters a cell
where another robot stands or where an enemy heavy could go in the same turn.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Set

import numpy as np

from agent.scripted.paths import (
    CLOSED,
    DIG,
    ICE,
    MOVE,
    PICKUP,
    POWER,
    STEPS,
    TRANSFER,
    WATER,
    Cell,
    enter_cost,
    footprint,
    moves,
    neighbours,
    route_from,
    route_to,
    walk_from,
    walk_to,
)
from agent.scripted.placement import placement
from agent.scripted.protocol import FACTION, View

BUILD_HEAVY = 1
WAIT = [MOVE, 0, 0, 0, 0, 1]
SPARE_POWER = 30  # kept back on every trip: an update of the queue and a step round an obstacle
WORTHWHILE_DIGS = 12  # digs of ice for which leaving home pays, while the factory has water
LOW_WATER = 40  # below this any ice is worth a trip
DRY_WATER = 100  # below this a factory is helped
KEPT_WATER = 80  # what a helping factory keeps
HELP_WATER = 120  # the least that makes a trip to another factory worthwhile


class Miner:
    """State kept between turns: which factory each robot works for, which ice tile it digs, which factory it brings water."""

    def __init__(self) -> None:
        self.home: Dict[str, str] = {}
        self.target: Dict[str, Cell] = {}
        self.errand: Dict[str, str] = {}

    def act(self, view: View) -> Dict[str, Any]:
        """The judge's action of this turn."""
        if view.step == 0:
            return {"faction": FACTION, "bid": 0}
        if view.real_step < 0:
            return placement(view)
        return Turn(self, view).orders()


class Turn:
    """One turn: who stays, who goes where, and the plans of those that need one."""

    def __init__(self, miner: Miner, view: View) -> None:
        self.miner = miner
        self.kind = view.env_cfg["ROBOTS"]["HEAVY"]
        self.max_entries = view.env_cfg["UNIT_ACTION_QUEUE_SIZE"]
        self.most = view.env_cfg["max_transfer_amount"]
        self.rubble = view.boards["rubble"]
        self.ice = view.boards["ice"]
        self.size = len(self.rubble)
        self.factories = view.factories(view.player)
        self.enemy_factories = view.factories(view.opponent)
        self.robots = view.robots(view.player)
        self.enemies = view.robots(view.opponent)
        self.taken: Set[Cell] = {_cell(robot) for robot in self.robots.values()}  # nobody may enter these
        self.own_tiles = footprint([_cell(f) for f in self.factories.values()], self.size)
        self.closed = footprint([_cell(f) for f in self.enemy_factories.values()], self.size)
        for enemy in self.enemies.values():
            cell = _cell(enemy)
            reach = [after for _, after in neighbours(cell, self.size)] if enemy["unit_type"] == "HEAVY" else []
            for other in [cell] + reach:
                if not self.own_tiles[other]:  # no enemy can come onto our factories
                    self.closed[other] = True

    def orders(self) -> Dict[str, Any]:
        """Queues of the robots whose plan changes, and the factories' builds."""
        self._assign_homes()
        orders: Dict[str, Any] = {}
        for name, robot in self.robots.items():
            if self._goes_on(robot):
                continue
            plan = self._plan(name, robot)[: self.max_entries]
            if not plan and robot["action_queue"]:
                plan = [WAIT]  # an empty queue would do, but this one is also there next turn to be compared
            if plan and plan != robot["action_queue"]:
                orders[name] = plan
                self._reserve(robot, plan)
        for name, factory in self.factories.items():
            if self._wants_robot(name, factory):
                orders[name] = BUILD_HEAVY
        return orders

    def _assign_homes(self) -> None:
        homes, targets = self.miner.home, self.miner.target
        for name in [name for name in homes if name not in self.robots]:
            del homes[name]
            targets.pop(name, None)
            self.miner.errand.pop(name, None)
        for name, robot in self.robots.items():
            if homes.get(name) not in self.factories and self.factories:
                distance = {f: _steps(_cell(robot), _cell(factory)) for f, factory in self.factories.items()}
                homes[name] = min(distance, key=lambda f: distance[f])

    def _wants_robot(self, name: str, factory: Dict[str, Any]) -> bool:
        return (
            name not in self.miner.home.values()
            and factory["cargo"]["metal"] >= self.kind["METAL_COST"]
            and factory["power"] >= self.kind["POWER_COST"]
            and _cell(factory) not in self.taken
        )

    def _goes_on(self, robot: Dict[str, Any]) -> bool:
        """Whether the queue's next action is fine as it is; a move reserves its cell."""
        if not robot["action_queue"]:
            return False
        entry = robot["action_queue"][0]
        if entry[0] == MOVE:
            return entry[1] != 0 and self._reserve(robot, [entry])
        if entry[0] == DIG:
            return bool(self.ice[_cell(robot)]) and robot["cargo"]["ice"] < self.kind["CARGO_SPACE"]
        return bool(self.own_tiles[_cell(robot)])

    def _reserve(self, robot: Dict[str, Any], plan: List[List[int]]) -> bool:
        """Marks the cell that the first entry moves to; False if it is closed or taken."""
        if plan[0][0] != MOVE or plan[0][1] == 0:
            return True
        here = _cell(robot)
        step = STEPS[plan[0][1]]
        cell = (here[0] + step[0], here[1] + step[1])
        if cell in self.taken or self.closed[cell]:
            return False
        update = self.kind["ACTION_QUEUE_POWER_COST"]
        if robot["power"] - update >= self.kind["MOVE_COST"] + self.kind["RUBBLE_MOVEMENT_COST"] * self.rubble[cell]:
            self.taken.discard(here)
        self.taken.add(cell)
        return True

    def _plan(self, name: str, robot: Dict[str, Any]) -> List[List[int]]:
        """The queue for the next trip, or what is left of this one; empty to stay where it is."""
        if name not in self.miner.home:
            return []
        here = _cell(robot)
        factory = self.factories[self.miner.home[name]]
        closed = self.closed.copy()
        for other in self.taken - {here}:
            closed[other] = True
        closed[here] = False
        cost = enter_cost(self.rubble, self.kind["MOVE_COST"], self.kind["RUBBLE_MOVEMENT_COST"], closed)
        back = walk_to(footprint([_cell(factory)], self.size), cost)
        out = walk_from(here, cost)
        at_home = back[here] == 0 and bool(self.own_tiles[here])
        carried = robot["cargo"]["water"]
        if carried > 0:
            return self._bring_water(name, here, out, back, cost, carried)
        self.miner.errand.pop(name, None)
        plan: List[List[int]] = []
        charging: List[List[int]] = []
        power = robot["power"] - self.kind["ACTION_QUEUE_POWER_COST"]
        ice = robot["cargo"]["ice"]
        if at_home:
            if ice > 0:
                plan.append([TRANSFER, 0, ICE, self.kind["CARGO_SPACE"], 0, 1])
                ice = 0
            charge = min(factory["power"], self.kind["BATTERY_CAPACITY"] - power, self.most)
            power += charge
            if charge > 0:
                charging = [[PICKUP, 0, POWER, int(charge), 0, 1]]
            spare = min(factory["cargo"]["water"] - KEPT_WATER, self.kind["CARGO_SPACE"])
            dry = self._dry_factory(name, out, back, power) if spare >= HELP_WATER else None
            if dry is not None:
                self.miner.errand[name] = dry
                plan += charging + [[PICKUP, 0, WATER, int(spare), 0, 1]]
                return plan + self._bring_water(name, here, out, back, cost, spare)
        trip = self._trip(name, out, back, power, ice, factory, at_home)
        if trip is None:
            if at_home:
                return plan
            return moves(route_to(back, cost, here)) + [_deliver(self.kind)] if back[here] < CLOSED else []
        target, digs = trip
        self.miner.target[name] = target
        way = moves(route_from(out, cost, target)) + [[DIG, 0, 0, 0, 0, digs]]
        return plan + charging + way + moves(route_to(back, cost, target)) + [_deliver(self.kind)]

    def _door(self, factory: Dict[str, Any], out: np.ndarray, back: np.ndarray) -> Cell:
        """The tile of a factory that is cheapest to reach and come back from."""
        price = np.where(footprint([_cell(factory)], self.size), out + np.minimum(back, CLOSED), 3 * CLOSED)
        x, y = np.unravel_index(price.argmin(), price.shape)
        return int(x), int(y)

    def _dry_factory(self, name: str, out: np.ndarray, back: np.ndarray, power: int) -> Optional[str]:
        """The driest own factory that nobody else brings water to and that the power reaches, or None."""
        helped = {factory for robot, factory in self.miner.errand.items() if robot != name}
        for other, factory in sorted(self.factories.items(), key=lambda item: item[1]["cargo"]["water"]):
            if factory["cargo"]["water"] + factory["cargo"]["ice"] // 4 >= DRY_WATER:
                return None
            door = self._door(factory, out, back)
            if other not in helped and out[door] + back[door] + SPARE_POWER <= power:
                return other
        return None

    def _bring_water(self, name: str, here: Cell, out: np.ndarray, back: np.ndarray, cost: np.ndarray, amount: int) -> List[List[int]]:
        """Carry water to the factory of the errand, or home if there is no such factory any more, and come home."""
        factory = self.factories[self.miner.errand.get(name, "")] if self.miner.errand.get(name) in self.factories else None
        door = self._door(factory or self.factories[self.miner.home[name]], out, back)
        if out[door] >= CLOSED:
            return []
        way = moves(route_from(out, cost, door)) + [[TRANSFER, 0, WATER, int(amount), 0, 1]]
        return way + (moves(route_to(back, cost, door)) if back[door] < CLOSED else [])

    def _trip(
        self, name: str, out: np.ndarray, back: np.ndarray, power: int, ice: int, factory: Dict[str, Any], at_home: bool
    ) -> Optional[tuple]:
        """(ice tile, digs) of the best trip that the power allows, or None if none is worth it now."""
        used = {cell for other, cell in self.miner.target.items() if other != name}
        best: Optional[Cell] = None
        best_cost = CLOSED
        for x, y in np.argwhere((self.ice > 0) & (out + back < CLOSED)):
            cell = (int(x), int(y))
            if cell in used:
                continue
            price = int(out[cell] + back[cell] + self._clearing(cell) * self.kind["DIG_COST"])
            price += 200 * self._nearer_enemy(cell, factory)
            if price < best_cost:
                best, best_cost = cell, price
        if best is None:
            return None
        digs = (power - int(out[best] + back[best]) - SPARE_POWER) // self.kind["DIG_COST"]
        clearing = self._clearing(best)
        room = -(-(self.kind["CARGO_SPACE"] - ice) // self.kind["DIG_RESOURCE_GAIN"])
        water = factory["cargo"]["water"] + factory["cargo"]["ice"] // 4
        digs = min(digs, clearing + room, max(water - 30, clearing + WORTHWHILE_DIGS))
        enough = WORTHWHILE_DIGS if at_home and water > LOW_WATER else 1
        if digs < clearing + min(enough, room) or room == 0:
            return None
        return best, int(digs)

    def _clearing(self, cell: Cell) -> int:
        """Digs that go into rubble before the first ice."""
        return -(-int(self.rubble[cell]) // self.kind["DIG_RUBBLE_REMOVED"])

    def _nearer_enemy(self, cell: Cell, factory: Dict[str, Any]) -> bool:
        mine = _steps(cell, _cell(factory))
        return any(_steps(cell, _cell(enemy)) < mine for enemy in self.enemy_factories.values())


def _deliver(kind: Dict[str, Any]) -> List[int]:
    return [TRANSFER, 0, ICE, kind["CARGO_SPACE"], 0, 1]


def _cell(entity: Dict[str, Any]) -> Cell:
    return int(entity["pos"][0]), int(entity["pos"][1])


def _steps(a: Cell, b: Cell) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])
