"""The rule as a player: one side of one game after the other, on game records."""

from __future__ import annotations

from typing import Any, Optional

from agent.lichen_opening import lichen_opening
from agent.tasks.dials import Dials
from agent.tasks.memory import empty_memory, empty_turn
from agent.tasks.play import play_side
from engine.jit import is_compiled
from wrappers.observation import empty_static, plain, write_static


class FarmSide:
    """Plays one side. `write_orders` is called once a turn, the opening included, as of a `wrappers.scripted.ScriptedSide`."""

    def __init__(self, dials: Optional[Dials] = None) -> None:
        self.dials = dials or Dials()
        self.memory = empty_memory(1)
        self.turn = empty_turn()
        self.static = empty_static(1)[0]

    def write_orders(self, game: Any, rules: Any, player: int, orders: Any, static: Any = None) -> None:
        """Write the side's orders of this turn; `static` is what `wrappers.observation.write_static` made of the game, if it is there."""
        if game["real_step"] < 0:
            lichen_opening(game, rules, player, orders)
            return
        if game["real_step"] == 0:
            self.memory = empty_memory(1)
            if static is None:
                write_static(game, rules, self.static)
        records = [game, rules, static if static is not None else self.static, self.memory[0], self.turn, orders]
        if not is_compiled():
            records = [plain(record) for record in records]
        game, rules, static, memory, turn, orders = records
        play_side(game, rules, self.dials, static, memory, turn, player, orders)
