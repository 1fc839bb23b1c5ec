"""Other people's programs as agents in games on our engine: for training, imitation and evaluation.

A process for each match, with the judge's messages, time and verdicts; what it does wrong is a `Failure`, which whoever
plays the game counts as a loss. The official referee (`arena.match`) is where results are to be had.
"""

from __future__ import annotations

import atexit
import functools
import json
import weakref
from typing import Any

import numpy as np

from agent.scripted.protocol import CHANGING_BOARDS, STATIC_BOARDS, plain
from arena.match import MEMORY_LIMIT, read_action
from arena.players import Player, open_player
from arena.process import BotProcess, exchange

TIME_PER_TURN, OVERAGE = 3.0, 60.0  # seconds


class Program:
    """One match of a program: the judge's messages, boards whole, to its actions. Raises `Failure`."""

    def __init__(self, player: Player) -> None:
        self._bot = BotProcess(player.command, player.folder, None, TIME_PER_TURN, OVERAGE, memory_limit=MEMORY_LIMIT)
        weakref.finalize(self, self._bot.close)
        self._before: dict[str, np.ndarray] = {}

    def __call__(self, message: dict[str, Any]) -> dict[str, Any]:
        told = {**message, "obs": self._changes(message["obs"]), "remainingOverageTime": self._bot.overage}
        (answer,) = exchange([self._bot], [json.dumps(plain(told)).encode() + b"\n"])
        return read_action(answer)

    def _changes(self, obs: dict[str, Any]) -> dict[str, Any]:
        """As the judge sends them: boards whole at first, then the cells that are not as they were."""
        board = dict(obs["board"])
        first = not self._before
        for name in CHANGING_BOARDS:
            now = np.array(board[name])
            if not first:
                board[name] = {f"{x},{y}": int(now[x, y]) for x, y in np.argwhere(now != self._before[name])}
            self._before[name] = now
        if not first:
            board = {name: values for name, values in board.items() if name not in STATIC_BOARDS}
        return {**obs, "board": board}


@functools.cache
def opened(name: str) -> Player:
    """The program that a player argument means, unpacked once a process."""
    player = open_player(name)
    atexit.register(player.close)
    return player


def start(name: str) -> Program:
    """A match of the program that this player argument means (`arena.players.is_program`)."""
    return Program(opened(name))
