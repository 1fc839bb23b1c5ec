"""The random agent.

Strategy: none. Factories go to random free cells with equal shares of the stock. Then every robot and factory picks
among what the sound masks of `ActionConfig.full()` allow it: a kind of action, each equally likely, then its direction,
resource and amount likewise. The same map and side give the same game against the same opponent.
"""

from __future__ import annotations

import zlib
from typing import Any, Dict, List, Optional

import numpy as np

from agent.scripted.protocol import FACTION, View
from engine.config import MAX_FACTORIES, MAX_ROBOTS
from wrappers.action import (
    DIRECTIONS,
    KINDS,
    LEVELS,
    MOVE,
    MOVE_BIT,
    PICKUP,
    PICKUP_BIT,
    RESOURCES,
    TRANSFER,
    TRANSFER_BIT,
    ActionConfig,
    write_orders,
)
from wrappers.judge import PLAYERS, JudgeGame
from wrappers.masks import write_masks
from wrappers.observation import plain


class Match:
    """One match: the game as a record, and the random generator."""

    def __init__(self) -> None:
        self.judge: Optional[JudgeGame] = None
        self.rng = np.random.default_rng(0)
        self.action_rules = ActionConfig.full().rules()


def act(match: Match, view: View) -> Dict[str, Any]:
    """The judge's action of this turn."""
    player = PLAYERS.index(view.player)
    if match.judge is None:
        match.judge = JudgeGame(view.env_cfg)
        match.rng = np.random.default_rng([zlib.crc32(view.boards["rubble"].astype(np.int32).tobytes()), player])
    match.judge.update(view.obs)
    if view.step == 0:
        return {"faction": FACTION, "bid": 0}
    if view.real_step < 0:
        return place(view, match.rng)
    slot, mask = masks(match.judge, match.action_rules, player)
    action = np.array([choose(int(bits), match.rng) for bits in mask], np.int64).reshape(-1, 4)
    write_orders(match.judge.game, match.judge.rules, player, slot, action, match.judge.orders)
    return match.judge.actions(player)


def place(view: View, rng: np.random.Generator) -> Dict[str, Any]:
    """A factory on any free cell, with an equal share of the stock."""
    cells = np.argwhere(view.boards["valid_spawns_mask"])
    if not view.my_turn_to_place() or len(cells) == 0:
        return {}
    share = view.team["factories_to_place"]
    spawn = cells[rng.integers(len(cells))].tolist()
    return {"spawn": spawn, "water": view.team["water"] // share, "metal": view.team["metal"] // share}


def masks(judge: JudgeGame, action_rules: Any, player: int) -> Any:
    """(slot [M], mask [M]) of all factories and robots of a side."""
    game = judge.game
    own = np.flatnonzero((game.factory_alive == 1) & (game.factory_owner == player))
    robots = game.robot_order[player, : int(game.robot_count[player])] - player * MAX_ROBOTS
    slot = np.concatenate([np.sort(game.factory_slot[own]), MAX_FACTORIES + robots]).astype(np.int16)
    mask = np.zeros(len(slot), np.int64)
    if hasattr(write_masks, "py_func"):
        write_masks(game, judge.rules, action_rules, player, slot, mask)
    else:  # interpreted, where numpy's fields are slow to read
        write_masks(plain(game), plain(judge.rules), plain(action_rules), player, slot, mask)
    return slot, mask


def allowed(mask: int, first: int, count: int) -> List[int]:
    """Which of the `count` bits from `first` on are set."""
    return [bit for bit in range(count) if mask >> (first + bit) & 1]


def choose(mask: int, rng: np.random.Generator) -> List[int]:
    """A random action `[kind, direction, resource, amount]` that the mask allows."""

    def any_of(options: List[int]) -> int:
        return options[int(rng.integers(len(options)))]

    kind = any_of(allowed(mask, 0, KINDS))
    if kind == MOVE:
        return [kind, any_of(allowed(mask, MOVE_BIT, DIRECTIONS)), 0, 0]
    if kind == TRANSFER:
        choice = any_of(allowed(mask, TRANSFER_BIT, DIRECTIONS * RESOURCES))
        return [kind, choice // RESOURCES, choice % RESOURCES, any_of(list(range(LEVELS)))]
    if kind == PICKUP:
        return [kind, 0, any_of(allowed(mask, PICKUP_BIT, RESOURCES)), any_of(list(range(LEVELS)))]
    return [kind, 0, 0, 0]
