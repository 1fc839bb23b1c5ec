"""The farm as a player: one side of one game after the other, on game records."""

from __future__ import annotations

from typing import Any, Dict, Optional

import numpy as np

from agent.lichen_opening import lichen_opening
from agent.tasks.candidates import (
    CANDIDATE_SIZE,
    CANDIDATES,
    STATE_SIZE,
    WATERING,
    observe_factories,
    observe_side,
    put_order,
    put_wishes,
)
from agent.tasks.dials import Dials
from agent.tasks.heads import Head, choose
from agent.tasks.memory import empty_memory, empty_turn
from agent.tasks.play import begin_turn, end_turn
from engine.config import MAX_ROBOTS
from engine.jit import is_compiled
from engine.state import FACTORIES
from wrappers.observation import empty_static, plain, write_static


class FarmSide:
    """Plays one side: by learned heads the kinds of entities that have one, by the rule the others.

    `write_orders` is called once a turn, the opening included, as of a `wrappers.scripted.ScriptedSide`.
    """

    def __init__(self, dials: Optional[Dials] = None, heads: Optional[Dict[int, Head]] = None) -> None:
        self.dials = dials or Dials()
        self.heads = heads or {}
        self.memory = empty_memory(1)
        self.turn = empty_turn()
        self.static = empty_static(1)[0]
        count = max(MAX_ROBOTS, FACTORIES)
        self.robots, self.cells = np.zeros(count, np.int16), np.zeros((count, CANDIDATES), np.int16)
        self.state = np.zeros((count, STATE_SIZE), np.float32)
        self.rows, self.mask = np.zeros((count, CANDIDATES, CANDIDATE_SIZE), np.float32), np.zeros((count, CANDIDATES), np.uint8)
        self.rng = np.random.default_rng(0)  # of heads that sample

    def write_orders(self, game: Any, rules: Any, player: int, orders: Any, static: Any = None) -> None:
        """Write the side's orders of this turn; `static` is what `wrappers.observation.write_static` made of the game, if it is there."""
        if game["real_step"] < 0:
            lichen_opening(game, rules, player, orders)
            return
        if game["real_step"] == 0:
            self.memory = empty_memory(1)
            self.rng = np.random.default_rng(0)
            self.turn.bare = any(head.bare for head in self.heads.values())
            if static is None:
                write_static(game, rules, self.static)
        records = [game, rules, static if static is not None else self.static, self.memory[0], self.turn, orders]
        if not is_compiled():
            records = [plain(record) for record in records]
        game, rules, static, memory, turn, orders = records
        begin_turn(game, rules, self.dials, static, memory, turn, player, orders)
        for kind, head in self.heads.items():
            if game.real_step >= head.since:
                self._wish(kind, head, game, rules, static, memory, turn, player)
        end_turn(game, rules, self.dials, static, memory, turn, player, orders)

    def _wish(self, kind: int, head: Head, game: Any, rules: Any, static: Any, memory: Any, turn: Any, player: int) -> None:
        """Let entities of a kind choose."""
        if kind >= WATERING:
            seen = (self.robots, self.state, self.rows, self.mask)
            count = observe_factories(game, rules, self.dials, memory, turn, player, kind, 0, *seen)
        else:
            seen = (self.robots, self.state, self.cells, self.rows, self.mask)
            count = observe_side(game, rules, static, self.dials, memory, turn, player, kind, 0, *seen)
        choice = choose(head, self.state[:count], self.rows[:count], self.mask[:count], self.rng)
        if kind >= WATERING:
            for m in range(count):
                put_order(memory, kind, -1 - int(self.robots[m]), int(choice[m]), int(game.real_step))
        else:
            put_wishes(turn, 0, count, self.robots, self.cells, choice)
