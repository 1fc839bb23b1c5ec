"""Actions of rows: their numbering, what is offered (`ActionConfig`), and the codec between rows and official queues.

An action is `[kind, direction, resource, amount]`, entries that its kind does not use being 0. The amount is a level,
a quarter, a half or all of what would be moved at most. A robot's queue is rewritten only where the choice differs from
what the queue would do next, because rewriting costs power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.config import CELLS, MAX_FACTORIES, MAX_ROBOTS, SIZE, check_range
from engine.jit import jit
from engine.state import DX, DY, POWER

WAIT, MOVE, TRANSFER, PICKUP, DIG, SELF_DESTRUCT, RECHARGE, BUILD_LIGHT, BUILD_HEAVY, WATER = range(10)
KINDS, DIRECTIONS, RESOURCES, LEVELS = 10, 5, 5, 3
KIND_NAMES = ("wait", "move", "transfer", "pickup", "dig", "self_destruct", "recharge", "build_light", "build_heavy", "water")
RESOURCE_NAMES = ("ice", "ore", "water", "metal", "power")
AMOUNT_NAMES = ("quarter", "half", "all")
DIG_NAMES = ("ice", "ore", "rubble", "lichen")
DIG_ICE, DIG_ORE, DIG_RUBBLE, DIG_LICHEN = range(4)

# a mask's bits: the kinds from 0, then directions of MOVE, (direction * 5 + resource) of TRANSFER, resources of PICKUP
MOVE_BIT, TRANSFER_BIT, PICKUP_BIT, MASK_BITS = 10, 15, 40, 45

LONG = 9999  # the longest `n` that the official engine takes

ACTION_RULES_DTYPE = np.dtype(
    [
        ("kinds", np.int32),  # bit a kind
        ("transfer", np.int32),  # bit a resource
        ("pickup", np.int32),  # bit a resource
        ("transfer_to_robots", np.int32),
        ("dig", np.int32),  # bit a target of DIG_NAMES
        ("light_dig", np.int32),
        ("ice_first", np.int32),
        ("rubble_distance", np.int32),
        ("avoid_friends", np.int32),
        ("keep_way_home", np.int32),
        ("water_reserve", np.int32),
        ("side_limit", np.int32, (2,)),  # lights, heavies
        ("factory_limit", np.int32, (2,)),
    ],
    align=True,
)


@dataclass(frozen=True)
class ActionConfig:
    """What is offered to a policy, beyond what the rules allow. The default offers everything useful."""

    build_light: bool = True
    build_heavy: bool = True
    water: bool = True
    """Watering of lichen."""
    transfer: tuple[str, ...] = RESOURCE_NAMES
    """Resources that robots hand over to the factories of their side, and to robots if `transfer_to_robots`."""
    transfer_to_robots: bool = True
    pickup: tuple[str, ...] = ("power",)
    """Resources that robots take from factories."""
    dig: tuple[str, ...] = DIG_NAMES
    """What robots dig for: ice, ore, rubble near own factories, lichen of the enemy."""
    light_dig: tuple[str, ...] = DIG_NAMES
    """Those of them that light robots dig for."""
    ice_first: int = 0
    """Water of their home factory below which heavies dig for nothing but ice."""
    rubble_distance: int = 5
    """Farthest distance (steps to the factory's walls) at which rubble is worth digging for its own sake."""
    amounts: tuple[str, ...] = AMOUNT_NAMES
    """Levels of what is moved at most: a quarter, a half, all."""
    self_destruct: bool = False
    recharge: bool = False
    avoid_friends: bool = True
    """Do not enter a tile where a friend stands."""
    keep_way_home: bool = False
    """Dig only with the power left over to walk to the nearest own factory; robots that dig themselves dry stand and wait."""
    water_reserve: int = 50
    """Water that watering leaves to a factory (or what it drinks until the end, if that is less)."""
    lights: int = MAX_ROBOTS
    """Light robots of a side above which its factories build no more; factories that build at once may pass it."""
    heavies: int = MAX_ROBOTS
    lights_per_factory: int = MAX_ROBOTS
    """Living light robots built by a factory above which it builds no more."""
    heavies_per_factory: int = MAX_ROBOTS

    def __post_init__(self) -> None:
        for name, known in (
            ("transfer", RESOURCE_NAMES),
            ("pickup", RESOURCE_NAMES),
            ("dig", DIG_NAMES),
            ("light_dig", DIG_NAMES),
            ("amounts", AMOUNT_NAMES),
        ):
            for value in getattr(self, name):
                if value not in known:
                    raise ValueError(f"actions.{name} has {value!r}; accepted are {', '.join(known)}.")
        if not self.amounts:
            raise ValueError(f"actions.amounts is empty; at least one of {', '.join(AMOUNT_NAMES)} is needed.")
        check_range(self, 0, None, "ice_first", "rubble_distance", "water_reserve", prefix="actions.")
        check_range(self, 0, None, "lights", "heavies", "lights_per_factory", "heavies_per_factory", prefix="actions.")

    @classmethod
    def survival(cls, **changes: Any) -> ActionConfig:
        """Keep factories alive with ice: heavies, ice, and power from the factory; no watering."""
        values = {
            "build_light": False,
            "water": False,
            "transfer": ("ice",),
            "transfer_to_robots": False,
            "dig": ("ice",),
            "keep_way_home": True,
        }
        values["amounts"] = ("all",)
        return cls(**{**values, **changes})

    @classmethod
    def full(cls, **changes: Any) -> ActionConfig:
        """Everything useful: the default."""
        return cls(**changes)

    def amounts_offered(self) -> list[bool]:
        """Of each level, whether it is offered."""
        return [name in self.amounts for name in AMOUNT_NAMES]

    def rules(self) -> Any:
        """The config as one record (`ACTION_RULES_DTYPE`), which is what the compiled code reads."""
        record = np.zeros(1, ACTION_RULES_DTYPE).view(np.recarray)[0]
        offered = {
            WAIT: True,
            MOVE: True,
            TRANSFER: bool(self.transfer),
            PICKUP: bool(self.pickup),
            DIG: bool(self.dig),
            SELF_DESTRUCT: self.self_destruct,
            RECHARGE: self.recharge,
            BUILD_LIGHT: self.build_light,
            BUILD_HEAVY: self.build_heavy,
            WATER: self.water,
        }
        record["kinds"] = sum(1 << kind for kind, on in offered.items() if on)
        for name in ("transfer", "pickup"):
            record[name] = sum(1 << k for k, resource in enumerate(RESOURCE_NAMES) if resource in getattr(self, name))
        for name in ("dig", "light_dig"):
            record[name] = sum(1 << k for k, target in enumerate(DIG_NAMES) if target in getattr(self, name))
        for name in (
            "transfer_to_robots",
            "ice_first",
            "rubble_distance",
            "avoid_friends",
            "keep_way_home",
            "water_reserve",
        ):
            record[name] = getattr(self, name)
        record["side_limit"] = self.lights, self.heavies
        record["factory_limit"] = self.lights_per_factory, self.heavies_per_factory
        return record


@jit
def neighbour(cell, direction, map_size):
    """The cell one step away in this direction, or -1 off the map."""
    x = cell // SIZE + DX[direction]
    y = cell % SIZE + DY[direction]
    if x < 0 or y < 0 or x >= map_size or y >= map_size:
        return -1
    return x * SIZE + y


@jit
def level_amount(most, level):
    """How much a level moves of `most`: a quarter, a half or all, rounded up and at least 1."""
    if level == 0:
        amount = (most + 3) // 4
    elif level == 1:
        amount = (most + 1) // 2
    else:
        amount = most
    return max(amount, 1)


@jit
def most_given(game, rules, r, direction, resource):
    """What robot `r` could hand over at most: what it holds after paying for the order, capped by the taker's room."""
    player = r // MAX_ROBOTS
    heavy = game.robot_heavy[r]
    if resource == POWER:
        most = int(game.robot_power[r]) - int(rules.action_queue_power_cost[heavy])
    else:
        most = int(game.robot_cargo[r, resource])
    target = neighbour(int(game.robot_cell[r]), direction, rules.map_size)
    if target >= 0:
        factory = game.factory_at[target]
        taker = int(game.robot_at[target])
        if not (factory >= 0 and game.factory_owner[factory] == player) and taker >= 0:
            kind = game.robot_heavy[taker]
            if resource == POWER:
                room = int(rules.battery_capacity[kind]) - int(game.robot_power[taker])
            else:
                room = int(rules.cargo_space[kind]) - int(game.robot_cargo[taker, resource])
            most = min(most, room)
    return min(most, int(rules.max_transfer_amount))


@jit
def most_taken(game, rules, r, resource):
    """What robot `r` could pick up at most: the factory's stock, capped by the robot's room after paying for the order."""
    factory = game.factory_at[game.robot_cell[r]]
    if factory < 0:
        return 0
    heavy = game.robot_heavy[r]
    if resource == POWER:
        stock = int(game.factory_power[factory])
        room = int(rules.battery_capacity[heavy]) - int(game.robot_power[r]) + int(rules.action_queue_power_cost[heavy])
    else:
        stock = int(game.factory_cargo[factory, resource])
        room = int(rules.cargo_space[heavy]) - int(game.robot_cargo[r, resource])
    return min(min(stock, room), int(rules.max_transfer_amount))


@jit
def entry_amount(game, rules, r, kind, direction, resource, level):
    """The amount of a queue entry for this choice of robot `r`; 0 for kinds without one."""
    if kind == TRANSFER:
        return level_amount(most_given(game, rules, r, direction, resource), level)
    if kind == PICKUP:
        return level_amount(most_taken(game, rules, r, resource), level)
    if kind == RECHARGE:
        return level_amount(min(int(rules.battery_capacity[game.robot_heavy[r]]), int(rules.max_transfer_amount)), level)
    return 0


@jit
def factory_number(game, player, slot):
    """The number of the factory in this slot of the side, or -1."""
    for f in range(game.factory_count):
        if game.factory_owner[f] == player and game.factory_slot[f] == slot:
            return f
    return -1


@jit
def write_robot(game, rules, r, kind, direction, resource, level, orders):
    """Order robot `r` to do this: nothing is written if its queue does it anyway, or if it cannot pay for the update."""
    length = game.queue_len[r]
    if game.robot_power[r] < rules.action_queue_power_cost[game.robot_heavy[r]]:
        return
    if kind == WAIT:
        if length > 0:
            orders.queue_len[r] = 0
        return
    if kind != MOVE and kind != TRANSFER:
        direction = 0
    if kind != TRANSFER and kind != PICKUP:
        resource = 0
    amount = entry_amount(game, rules, r, kind, direction, resource, level)
    if length > 0:
        front = game.queue[r, 0]
        if front[0] == kind - 1 and front[1] == direction and front[2] == resource and front[3] == amount:
            return
    orders.queue_len[r] = 1
    entry = orders.queue[r, 0]
    entry[0] = kind - 1  # the official numbers have no WAIT in front
    entry[1] = direction
    entry[2] = resource
    entry[3] = amount
    entry[4] = 0
    entry[5] = LONG if kind == MOVE or kind == DIG else 1


@jit
def next_cell(game, rules, orders, r):
    """The cell that robot `r` will want to be in after this turn, by its new order or its queue."""
    cell = int(game.robot_cell[r])
    power = int(game.robot_power[r])
    heavy = game.robot_heavy[r]
    if orders.queue_len[r] > 0:
        entry = orders.queue[r, 0]
        power -= int(rules.action_queue_power_cost[heavy])
    elif orders.queue_len[r] < 0 and game.queue_len[r] > 0:
        entry = game.queue[r, 0]
    else:
        return cell
    if entry[0] != MOVE - 1:
        return cell
    target = neighbour(cell, int(entry[1]), rules.map_size)
    return target if target >= 0 and int(rules.move_cost_at[heavy, game.rubble[target]]) <= power else cell


@jit
def hold(game, orders, r):
    """Let robot `r` stay where it is; this needs no order if it has no queue, or one that stays anyway."""
    if game.queue_len[r] == 0 or (game.queue[r, 0, 0] == MOVE - 1 and game.queue[r, 0, 1] == 0):
        orders.queue_len[r] = -1
        return
    orders.queue_len[r] = 1
    orders.queue[r, 0, :] = 0
    orders.queue[r, 0, 5] = 1  # one move to the centre


@jit
def keep_apart(game, rules, player, orders):
    """Let robots wait that would run into another one of their side: both would be lost.

    Where two want the same cell, one that stays, or cannot pay for another order, or is heavy, goes first; then the older one.
    Whoever gives way keeps its own cell, and others have to give way to it in turn.
    """
    first = player * MAX_ROBOTS
    robots = np.zeros(MAX_ROBOTS, np.int64)
    wanted = np.zeros(MAX_ROBOTS, np.int64)
    taken = np.zeros(CELLS, np.uint8)
    count = 0
    settled = True
    for r in range(first, first + int(game.robot_slots[player])):
        if game.robot_alive[r]:
            target = next_cell(game, rules, orders, r)
            settled = settled and not taken[target]
            taken[target] = 1
            robots[count] = r
            wanted[count] = target
            count += 1
    if settled:
        return
    age = np.argsort(game.robot_id[robots[:count]])
    while not settled:
        settled = True
        taken[:] = 0
        for rank in range(4):  # robots that stay, that cannot pay, heavies, lights
            for i in age:
                r = int(robots[i])
                heavy = int(game.robot_heavy[r])
                target = wanted[i]
                stays = target == game.robot_cell[r]
                bound = game.robot_power[r] < rules.action_queue_power_cost[heavy]
                if (0 if stays else 1 if bound else 3 - heavy) != rank:
                    continue
                if taken[target] and not stays and not bound:
                    hold(game, orders, r)
                    wanted[i] = game.robot_cell[r]
                    settled = False
                else:
                    taken[target] = 1


@jit
def write_orders(game, rules, player, slot, action, orders):
    """Write what rows of one side chose into the orders of their game; robots that would collide wait (`keep_apart`).

    Args:
        game, rules: records.
        player: 0 or 1.
        slot: [m] slots of the rows.
        action: [m, 4] `[kind, direction, resource, amount]`, legal by the rows' masks.
        orders: record of `ORDERS_DTYPE`, empty for these rows.
    """
    for i in range(len(slot)):
        kind = int(action[i, 0])
        if slot[i] < MAX_FACTORIES:
            if kind >= BUILD_LIGHT:
                orders.factory[factory_number(game, player, slot[i])] = kind - BUILD_LIGHT
        else:
            r = player * MAX_ROBOTS + int(slot[i]) - MAX_FACTORIES
            write_robot(game, rules, r, kind, int(action[i, 1]), int(action[i, 2]), int(action[i, 3]), orders)
    keep_apart(game, rules, player, orders)


@jit
def write_all_orders(games, rules, side, slot, action, rows, orders):
    """`write_orders` for the rows of all games: `side [rows]`, `slot [rows]`, `action [rows, 4]`, `orders [N]`."""
    first = 0
    while first < rows:
        b = side[first]
        last = first + 1
        while last < rows and side[last] == b:
            last += 1
        write_orders(games[b // 2], rules, b % 2, slot[first:last], action[first:last], orders[b // 2])
        first = last


@jit
def decode(game, rules, r, action):
    """The row `action [4]` that stands for the front of robot `r`'s queue; False (and WAIT) if there is none.

    An empty queue is WAIT. There is no row for a centre move, nor for an amount that no level gives.
    """
    for j in range(4):
        action[j] = 0
    if game.queue_len[r] == 0:
        return True
    front = game.queue[r, 0]
    kind = int(front[0]) + 1
    if kind == MOVE and front[1] == 0:
        return False
    for level in range(LEVELS - 1, -1, -1):
        if entry_amount(game, rules, r, kind, int(front[1]), int(front[2]), level) == front[3]:
            action[0] = kind
            action[1] = front[1]
            action[2] = front[2]
            action[3] = level if kind == TRANSFER or kind == PICKUP or kind == RECHARGE else 0
            return True
    return False
