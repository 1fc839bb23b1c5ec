"""Official actions to orders, judged as the official engine judges them, and orders to official actions."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from engine.config import SIZE
from engine.state import (
    BUILD_LIGHT,
    DIG,
    ENTRY,
    MOVE,
    PICKUP,
    RECHARGE,
    SELF_DESTRUCT,
    TRANSFER,
    WATER_LICHEN,
)

PLAYERS = ("player_0", "player_1")
FACTIONS = ("AlphaStrike", "MotherMars")
MISSING = object()  # "this player's key is not in the dict": `actions.get(player, MISSING)`
INT16 = np.iinfo(np.int16)
INT32_MAX = int(np.iinfo(np.int32).max)

# which of (type, direction, resource, amount, repeat, n) the official engine keeps for each type of action
KEPT = np.zeros((6, ENTRY), bool)
KEPT[:, [0, 4, 5]] = True
KEPT[MOVE, 1] = True
KEPT[TRANSFER, 1:4] = True
KEPT[PICKUP, 2:4] = True
KEPT[RECHARGE, 3] = True
_TYPES = {"move": MOVE, "transfer": TRANSFER, "pickup": PICKUP, "dig": DIG, "self_destruct": SELF_DESTRUCT, "recharge": RECHARGE}


def entry(action: Any) -> tuple[int, int, int, int, int, int]:
    """The six numbers of an official robot action, unused ones zero (its `state_dict`, without making an array)."""
    kind = _TYPES[action.act_type]
    direction = resource = amount = 0
    if kind == MOVE:
        direction = action.move_dir
    elif kind == TRANSFER:
        direction, resource, amount = action.transfer_dir, action.resource, action.transfer_amount
    elif kind == PICKUP:
        resource, amount = action.resource, action.pickup_amount
    elif kind == RECHARGE:
        amount = action.power
    return kind, direction, resource, amount, action.repeat, action.n


def step_orders(actions: dict[str, Any], game: Any, rules: Any, orders: Any) -> None:
    """`actions_to_orders` for both sides of what is given to the official `step`."""
    for player, agent in enumerate(PLAYERS):
        actions_to_orders(actions.get(agent, MISSING), game, rules, player, orders)


def actions_to_orders(actions: Any, game: Any, rules: Any, player: int, orders: Any) -> None:
    """Write one side's official actions of this turn into an (empty) orders record.

    `actions` is what the official `step` would get under this player's key (`MISSING` if it would get no such key). It is
    judged as the official engine judges it by its default settings, and `orders.lost[player]` is set where it would make
    the player lose. As there, queues read before a malformed one are still stored.

    Where orders cannot say what the official engine does, which happens only in junk:
    - in the bid, a side without a key crashes the official `step` (`KeyError`); here that side loses;
    - a negative bid above -1 (a fraction) counts as 0 but lets the other side place first there; here it is a bid of 0;
    - a negative spawn coordinate counts from the far border there, and builds a broken factory; here it passes;
    - water or metal that is not a number places a factory before it loses the game there; here it only loses;
    - an action queue that is neither a sequence nor an array (`None`, a number) crashes the official `step`; here that
      side loses; entries beyond 16 bits, which lose as well, are stored clipped.
    """
    if game["done"]:
        return
    if int(game["env_steps"]) == 0:
        _read_bid(actions, player, orders)
    elif actions is MISSING:
        return
    elif int(game["real_step"]) < 0:
        _read_placement(actions, game, rules, player, orders)
    else:
        _read_turn(actions, game, rules, player, orders)


def _read_bid(actions: Any, player: int, orders: Any) -> None:
    orders["lost"][player] = 1
    if actions is None or actions is MISSING:
        return
    try:
        if not ("faction" in actions and "bid" in actions):
            return
        if actions["faction"] not in ("AlphaStrike", "MotherMars", "TheBuilders", "FirstMars"):
            return
        bid = min(math.floor(abs(actions["bid"])), INT32_MAX)
        orders["bid"][player] = -bid if actions["bid"] < 0 else bid
        orders["lost"][player] = 0
    except Exception:  # noqa: BLE001 - the official engine, too, turns whatever goes wrong here into a lost match
        return


def placing_player(game: Any) -> int:
    """Whose turn it is to place a factory."""
    odd = int(game["env_steps"]) % 2 == 1
    return 0 if bool(game["place_first"][0]) == odd else 1


def _read_placement(actions: Any, game: Any, rules: Any, player: int, orders: Any) -> None:
    if actions is None:
        orders["lost"][player] = 1
        return
    try:
        if not ("spawn" in actions and "metal" in actions and "water" in actions):
            return
        if player != placing_player(game) or game["factories_to_place"][player] <= 0:
            return
        if actions["water"] < 0 or actions["metal"] < 0:
            return
        water = min(actions["water"], int(game["team_water"][player]))
        metal = min(actions["metal"], int(game["team_metal"][player]))
        x, y = actions["spawn"][0], actions["spawn"][1]
        size = int(rules["map_size"])
        spawnable = game["spawnable"].reshape(SIZE, SIZE)[:size, :size]
        if spawnable[x, y] == 0 or x < 0 or y < 0:
            return
        water, metal = math.floor(water), math.floor(metal)
        orders["spawn"][player] = int(x) * SIZE + int(y)
        orders["spawn_water"][player] = water
        orders["spawn_metal"][player] = metal
    except Exception:  # noqa: BLE001 - as in the bid
        orders["lost"][player] = 1


def _read_turn(actions: Any, game: Any, rules: Any, player: int, orders: Any) -> None:
    if not isinstance(actions, dict):
        orders["lost"][player] = 1
        return
    order = game["robot_order"][player, : int(game["robot_count"][player])]
    robots = {f"unit_{ident}": int(r) for ident, r in zip(game["robot_id"][order].tolist(), order)}
    mine = np.flatnonzero((game["factory_owner"] == player) & (game["factory_alive"] == 1))
    factories = {f"factory_{number}": int(number) for number in mine}
    space: Any = None  # the official judge of a queue, made when the quick check does not settle it
    for key, action in actions.items():
        if key in factories:
            if _is_factory_action(action):
                orders["factory"][factories[key]] = int(action)
                continue
            orders["lost"][player] = 1
            if any(_equals(action, a) for a in (0, 1, 2)):
                continue
            return  # the official engine stops reading where something cannot be formatted
        if key not in robots:
            orders["lost"][player] = 1
            if isinstance(key, str) and "factory" not in key and "unit" not in key:
                continue
            return
        if _is_plain_queue(action, rules):
            entries = action[: int(rules["unit_action_queue_size"])]
        else:
            space = space or _queue_space(rules)
            if not _space_contains(space, action):
                orders["lost"][player] = 1
            r = robots[key]
            if game["robot_power"][r] < rules["action_queue_power_cost"][game["robot_heavy"][r]]:
                continue  # neither read nor paid for
            if not (type(action) is list or (type(action) is np.ndarray and action.ndim and (action.ndim == 2 or len(action) == 0))):
                orders["lost"][player] = 1
                continue
            entries = _format_queue(action[: int(rules["unit_action_queue_size"])])
            if entries is None:
                orders["lost"][player] = 1
                return
        _write_queue(orders, robots[key], entries)


def _write_queue(orders: Any, r: int, entries: np.ndarray) -> None:
    """Store a queue of valid types `[k, >= 6]`, unused fields zeroed."""
    orders["queue_len"][r] = len(entries)
    if len(entries):
        kept = np.where(KEPT[entries[:, 0].astype(int)], entries[:, :ENTRY], 0)
        orders["queue"][r, : len(entries)] = kept.clip(INT16.min, INT16.max)


def _is_plain_queue(action: Any, rules: Any) -> bool:
    """Whether an action queue is an integer array that is well-formed beyond doubt."""
    if type(action) is not np.ndarray or action.ndim != 2 or action.shape[1] != ENTRY:
        return False
    if len(action) > int(rules["unit_action_queue_size"]) or not np.can_cast(action.dtype, np.int64):
        return False
    high = np.array([5, 4, 4, int(rules["max_transfer_amount"]) + 1, 9999, 9999])
    return bool((action >= (0, 0, 0, 0, 0, 1)).all() and (action <= high).all())


def _queue_space(rules: Any) -> Any:
    """The official space of action queues by these rules."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    from gymnasium import spaces
    from luxai_s2.spaces.act_space import ActionsQueue

    high = np.array([5, 4, 4, int(rules["max_transfer_amount"]) + 1, 9999, 9999])
    box = spaces.Box(low=np.array([0, 0, 0, 0, 0, 1]), high=high, shape=(ENTRY,), dtype=np.int64)
    return ActionsQueue(box, int(rules["unit_action_queue_size"]))


def _space_contains(space: Any, action: Any) -> bool:
    try:
        return bool(space.contains(action))
    except (TypeError, IndexError):  # not a sequence: this crashes the official step
        return False


def _format_queue(action: Any) -> np.ndarray | None:
    """Entries `[k, 6]` as the official `format_action_vec` reads them, or None where it raises."""
    from luxai_s2.actions import format_action_vec

    try:
        entries = [entry(format_action_vec(a)) for a in action]
        return np.array(entries, np.int64).reshape(-1, ENTRY)
    except Exception:  # noqa: BLE001 - as in the bid
        return None


def _is_factory_action(action: Any) -> bool:
    """Whether the official `Discrete(3)` contains this."""
    if isinstance(action, int):
        return 0 <= action < 3
    plain = isinstance(action, (np.generic, np.ndarray)) and np.issubdtype(action.dtype, np.integer) and action.shape == ()
    return bool(plain) and 0 <= int(action) < 3


def _equals(action: Any, wanted: int) -> bool:
    """`action == wanted` as a truth value; what has none (an array) equals nothing."""
    try:
        return bool(action == wanted)
    except (TypeError, ValueError):
        return False


def orders_to_actions(game: Any, orders: Any, player: int) -> dict[str, Any] | None:
    """The official actions that say what these orders (before the step) say; None, which loses, for a side that lost."""
    if orders["lost"][player]:
        return None
    if int(game["env_steps"]) == 0:
        return {"faction": FACTIONS[player], "bid": int(orders["bid"][player])}
    if int(game["real_step"]) < 0:
        cell = int(orders["spawn"][player])
        if cell < 0:
            return {}
        spawn = np.array([cell // SIZE, cell % SIZE])
        return {"spawn": spawn, "water": int(orders["spawn_water"][player]), "metal": int(orders["spawn_metal"][player])}
    actions: dict[str, Any] = {}
    for r in game["robot_order"][player, : int(game["robot_count"][player])]:
        length = int(orders["queue_len"][r])
        if length >= 0:
            actions[f"unit_{game['robot_id'][r]}"] = orders["queue"][r, :length].astype(np.int64)
    for number in np.flatnonzero((game["factory_owner"] == player) & (game["factory_alive"] == 1)):
        if BUILD_LIGHT <= orders["factory"][number] <= WATER_LICHEN:
            actions[f"factory_{number}"] = int(orders["factory"][number])
    return actions
