"""One turn as the farmer's robots share it: who stands where, which cells are free to enter, and walks over the ground."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from agent.scripted.farmer.ground import Growth, clearing_prices, growth
from agent.scripted.paths import DIG, MOVE, STEPS, Cell, enter_cost, footprint, neighbours, walk_from, walk_to
from agent.scripted.protocol import View

WAIT = [MOVE, 0, 0, 0, 0, 1]
Plan = List[List[int]]


class Factory:
    """An own factory; `power` is what is left of its stock after what robots were promised this turn."""

    def __init__(self, name: str, shown: Dict[str, Any]) -> None:
        self.name = name
        self.cell = cell_of(shown)
        self.number = int(shown["strain_id"])
        self.power = int(shown["power"])
        self.ice, self.ore, self.water, self.metal = (int(shown["cargo"][key]) for key in ("ice", "ore", "water", "metal"))


class Robot:
    """A robot; `kind` are the rules of its kind."""

    def __init__(self, name: str, shown: Dict[str, Any], kinds: Dict[str, Any]) -> None:
        self.name = name
        self.heavy = shown["unit_type"] == "HEAVY"
        self.kind = kinds[shown["unit_type"]]
        self.cell = cell_of(shown)
        self.power = int(shown["power"])
        self.cargo = shown["cargo"]
        self.queue: Plan = [[int(part) for part in entry] for entry in shown["action_queue"]]
        self.update_cost = int(self.kind["ACTION_QUEUE_POWER_COST"])


class Walks(NamedTuple):
    """Power to walk from a robot (`out`) and to its factory (`back`), and to enter each cell, in a window of the map."""

    part: Tuple[slice, slice]
    origin: Cell
    cost: np.ndarray
    out: np.ndarray
    back: np.ndarray


class Turn:
    """What is known at the start of a turn, and what was decided in it so far (`taken`, `orders`)."""

    def __init__(self, view: View) -> None:
        kinds = view.env_cfg["ROBOTS"]
        self.env_cfg = view.env_cfg
        self.now = view.real_step
        self.left = view.env_cfg["max_episode_length"] - view.real_step
        self.boards = view.boards
        self.rubble, self.ice, self.ore = view.boards["rubble"], view.boards["ice"], view.boards["ore"]
        self.size = len(self.rubble)
        self.factories = {name: Factory(name, shown) for name, shown in view.factories(view.player).items()}
        self.foes = {name: Factory(name, shown) for name, shown in view.factories(view.opponent).items()}
        self.robots = {name: Robot(name, shown, kinds) for name, shown in view.robots(view.player).items()}
        self.enemies = {name: Robot(name, shown, kinds) for name, shown in view.robots(view.opponent).items()}
        centres = [factory.cell for factory in self.factories.values()]
        self.own_tiles = footprint(centres, self.size)
        self.foe_tiles = footprint([foe.cell for foe in self.foes.values()], self.size)
        self.walls = self.foe_tiles.copy()
        for cell in centres:
            self.walls[cell] = True  # newborn robots stand there
        self.soil = (self.ice == 0) & (self.ore == 0) & ~self.own_tiles & ~self.foe_tiles
        self.stands = {robot.cell: robot for robot in self.robots.values()}
        self.taken: Set[Cell] = set(self.stands)  # nobody may enter these
        self.busy = footprint(centres, self.size, 3) | (self.ice > 0) | (self.ore > 0)  # where idle robots would be in the way
        self._reach: Dict[str, List[Cell]] = {}
        self.danger = danger(self, self.enemies.values())
        self.orders: Dict[str, Any] = {}
        self._prices: Dict[Tuple[str, int], np.ndarray] = {}
        self._growth: Dict[str, Growth] = {}
        self._bytes: Optional[Tuple[bytes, bytes, bytes]] = None

    def order(self, robot: Robot, plan: Plan) -> None:
        """Give a robot a new queue, unless it is what it has or cannot be paid."""
        limit = int(self.env_cfg["UNIT_ACTION_QUEUE_SIZE"])
        if plan[:limit] != robot.queue and robot.power >= robot.update_cost:
            self.orders[robot.name] = plan[:limit] or [WAIT]
            self.reserve(robot, plan)

    def reserve(self, robot: Robot, plan: Plan) -> None:
        """Mark the cell that the plan's first entry moves to."""
        if plan and plan[0][0] == MOVE and plan[0][1]:
            self.taken.add(step_to(robot.cell, plan[0][1]))

    def free(self, robot: Robot, cell: Cell) -> bool:
        """Whether the robot may enter this cell now."""
        return cell not in self.taken and not self.walls[cell] and not self.danger[robot.heavy][cell]

    def reach(self, enemy: Robot) -> List[Cell]:
        """The cells where an enemy stands or can walk to this turn, our own factories left out; worked out once a turn."""
        if enemy.name not in self._reach:
            found = [] if self.own_tiles[enemy.cell] else [enemy.cell]
            for _, cell in neighbours(enemy.cell, self.size):
                price = enemy.kind["MOVE_COST"] + enemy.kind["RUBBLE_MOVEMENT_COST"] * self.rubble[cell]
                if not self.own_tiles[cell] and enemy.power >= price:
                    found.append(cell)
            self._reach[enemy.name] = found
        return self._reach[enemy.name]

    def crowd(self, factory: Factory) -> int:
        """How many robots stand on a factory's tiles."""
        x, y = factory.cell
        return sum(abs(cell[0] - x) <= 1 and abs(cell[1] - y) <= 1 for cell in self.stands)

    def leaves(self, robot: Robot) -> bool:
        """Whether its queue moves it on, and it has the power."""
        if not is_moving(robot):
            return False
        rubble = self.rubble[step_to(robot.cell, robot.queue[0][1])]
        return robot.power >= robot.kind["MOVE_COST"] + robot.kind["RUBBLE_MOVEMENT_COST"] * rubble

    def walks(self, robot: Robot, home: Factory, window: int) -> Walks:
        """Walks of this robot round everybody who stands still, within `window` columns and rows of it and its factory."""
        closed = self.walls | self.danger[robot.heavy]
        beside = {cell for _, cell in neighbours(robot.cell, self.size)}
        for cell in self.taken:
            if cell in beside or (cell in self.stands and not self.leaves(self.stands[cell])):
                closed[cell] = True
        closed[robot.cell] = False
        cost = enter_cost(self.rubble, robot.kind["MOVE_COST"], robot.kind["RUBBLE_MOVEMENT_COST"], closed)
        span, low = square_around(robot.cell, home.cell, window + 1, self.size)
        part = (slice(low[0], low[0] + span), slice(low[1], low[1] + span))
        here = (robot.cell[0] - low[0], robot.cell[1] - low[1])
        tiles = footprint([home.cell], self.size)[part]
        return Walks(part, low, cost[part], walk_from(here, cost[part]), walk_to(tiles, cost[part]))

    def prices(self, factory: Factory, far: int) -> np.ndarray:
        """`clearing_prices` of this factory, made once a turn."""
        if (factory.name, far) not in self._prices:
            self._prices[factory.name, far] = clearing_prices(self.rubble, self.soil, factory.cell, far)
        return self._prices[factory.name, far]

    def growth(self, factory: Factory) -> Growth:
        """What watering by this factory does now, worked out once a turn."""
        if factory.name in self._growth:
            return self._growth[factory.name]
        if self._bytes is None:
            owner = self.boards["lichen_strains"] + 1
            for other in list(self.factories.values()) + list(self.foes.values()):
                x, y = other.cell
                owner[x - 1 : x + 2, y - 1 : y + 2] = other.number + 1
            soil = self.soil & (self.rubble == 0)
            boards = (soil, self.boards["lichen"], owner)
            padded = [np.pad(board.astype(np.uint8), 1, mode="constant").tobytes() for board in boards]
            self._bytes = (padded[0], padded[1], padded[2])
        self._growth[factory.name] = growth(factory.number, factory.cell, *self._bytes, width=self.size + 2)
        return self._growth[factory.name]


def square_around(a: Cell, b: Cell, margin: int, size: int) -> Tuple[int, Cell]:
    """(width, corner) of a square of the map with both cells and, where the map goes on, `margin` cells around them."""
    span = min(max(abs(a[0] - b[0]), abs(a[1] - b[1])) + 2 * margin + 1, size)
    x, y = (max(min(min(a[i], b[i]) - margin, size - span), 0) for i in range(2))
    return span, (x, y)


def cell_of(shown: Dict[str, Any]) -> Cell:
    """The cell of what the judge shows."""
    return int(shown["pos"][0]), int(shown["pos"][1])


def step_to(cell: Cell, direction: int) -> Cell:
    """The cell one step in this direction."""
    return cell[0] + STEPS[direction][0], cell[1] + STEPS[direction][1]


def distance(a: Cell, b: Cell) -> int:
    """Steps between two cells."""
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def is_moving(robot: Robot) -> bool:
    """Whether its queue moves it on."""
    return bool(robot.queue) and robot.queue[0][0] == MOVE and robot.queue[0][1] != 0


def danger(turn: Turn, enemies: Iterable[Robot]) -> List[np.ndarray]:
    """For lights and for heavies: the cells [W, W] where one of these enemies may destroy them this turn.

    That is where an enemy of their own kind or a heavier one stands or can walk to; never our own factories.
    """
    found = [np.zeros((turn.size, turn.size), bool) for _ in range(2)]
    for enemy in enemies:
        for cell in turn.reach(enemy):
            found[0][cell] = True
            if enemy.heavy:
                found[1][cell] = True
    return found


def digs_left(turn: Turn, robot: Robot) -> bool:
    """Whether the dig in front of the queue still digs something, and can be paid."""
    kind, cell = robot.kind, robot.cell
    if robot.power < kind["DIG_COST"]:
        return False
    if turn.rubble[cell] > 0:
        return True
    for board, resource in ((turn.ice, "ice"), (turn.ore, "ore")):
        if board[cell]:
            return robot.cargo[resource] < kind["CARGO_SPACE"]
    return False


def goes_on(turn: Turn, robot: Robot) -> bool:
    """Whether the queue's next action can be left to run; a move reserves its cell."""
    entry = robot.queue[0]
    if entry[0] == MOVE:
        if entry[1] == 0:
            return True
        if not turn.free(robot, step_to(robot.cell, entry[1])):
            return False
        turn.reserve(robot, robot.queue)
        return True
    if entry[0] == DIG:
        return digs_left(turn, robot)
    return bool(turn.own_tiles[robot.cell])
