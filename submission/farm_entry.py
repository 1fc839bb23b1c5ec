"""The farm of tasks on the judge's machine, with learned heads if there are any: in its package this is `submission.entry`.

Copied into submissions, so it needs numpy only and keeps to Python 3.7.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import submission.answers as answers
from agent.tasks.heads import Head, load_heads
from agent.tasks.side import FarmSide
from submission.answers import errors, lost_turn, note_error

__all__ = ["Player", "answer", "errors", "lost_turn", "prepare"]
HEADS_FILE = "heads.tasks.npz"  # beside the package's folders
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@lru_cache(maxsize=1)
def load(folder: str = PACKAGE) -> dict[int, Head]:
    """The heads of the package; none if there is no file of them."""
    path = Path(folder) / HEADS_FILE
    return load_heads(path) if path.is_file() else {}


def prepare() -> None:
    """Load everything while the judge loads the agent; what fails plays by the rule."""
    try:
        load()
    except Exception:  # noqa: BLE001
        note_error()


class Player(answers.Player):
    """One side of one match."""

    def __init__(self, player: str, env_cfg: dict[str, Any]) -> None:
        super().__init__(player, env_cfg)
        try:
            heads = load()
        except Exception:  # noqa: BLE001 told when it was loaded
            heads = {}
        self.side = FarmSide(heads=heads)

    def order(self) -> None:
        """By the rule, or what the heads choose."""
        judge = self.judge
        self.side.write_orders(judge.game, judge.rules, self.player, judge.orders, judge.static)


def answer(players: dict[str, Any], observation: Any, configuration: Any) -> dict[str, Any]:
    """`submission.answers.answer` of this agent."""
    return answers.answer(Player, players, observation, configuration)
