"""Opponent `warden`: a farm that goes on growing. Its rule is `agent.tasks`, which the fast arena and the league play compiled."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # a process of its own would compile for a minute in its first turn
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agent.scripted.protocol import serve_view
from agent.tasks.side import FarmSide
from wrappers.judge import PLAYERS, JudgeGame


class Warden:
    """One match as the judge shows it."""

    def __init__(self, heads=None):
        self.side = FarmSide(heads=heads)
        self.judge = None

    def act(self, view):
        """The judge's action of this turn."""
        if self.judge is None:
            self.judge = JudgeGame(view.env_cfg)
        judge, player = self.judge, PLAYERS.index(view.player)
        judge.update(view.obs)
        self.side.write_orders(judge.game, judge.rules, player, judge.orders, judge.static)
        return judge.actions(player)


def make():
    """The decision function of one match."""
    return Warden().act


if __name__ == "__main__":
    serve_view(make())
