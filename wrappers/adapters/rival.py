"""An opponent that is part of an environment: it plays player_1 of one game."""

from __future__ import annotations

from typing import Any, Protocol

from wrappers.vec_env import Opening


class Rival(Protocol):
    """Plays a side on game records, such as `wrappers.scripted.ScriptedSide`."""

    def write_orders(self, game: Any, rules: Any, player: int, orders: Any) -> None: ...


def with_rival(opening: Opening, rival: Rival | None) -> Opening:
    """The opening in which player_1's bid and placements are the rival's."""
    if rival is None:
        return opening

    def both(game: Any, rules: Any, player: int, orders: Any) -> None:
        (rival.write_orders if player == 1 else opening)(game, rules, player, orders)

    return both
