"""The judge's stand-alone protocol, the agent's end: one JSON object a line on stdin, one a line on stdout.

The judge sends the whole board once and afterwards only the cells that changed. `View` keeps the boards up to date;
`serve` is the loop. Needs numpy only and keeps to Python 3.7 syntax, since it is copied into submissions.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any, Callable, Dict, Optional

import numpy as np

STATIC_BOARDS = ("ice", "ore")
CHANGING_BOARDS = ("rubble", "lichen", "lichen_strains")
FACTION = "AlphaStrike"


class View:
    """One match as one side sees it: the boards as int arrays `[x, y]`, the rest as the judge's own dicts.

    `player` is `player_0` or `player_1`; `step` counts the opening too, `real_step` is negative during it.
    """

    def __init__(self) -> None:
        self.player = ""
        self.opponent = ""
        self.step = 0
        self.real_step = 0
        self.remaining_overage = 0.0
        self.env_cfg: Dict[str, Any] = {}
        self.boards: Dict[str, np.ndarray] = {}
        self.obs: Dict[str, Any] = {}

    def update(self, message: Dict[str, Any]) -> None:
        """Take in one line of the judge: `{"obs", "step", "remainingOverageTime", "player", "reward", "info"}`."""
        self.player = message["player"]
        self.opponent = "player_1" if self.player == "player_0" else "player_0"
        self.step = int(message["step"])
        self.remaining_overage = float(message["remainingOverageTime"])
        if "env_cfg" in message["info"]:
            self.env_cfg = message["info"]["env_cfg"]
        self.obs = message["obs"]
        self.real_step = int(self.obs["real_env_steps"])
        board = self.obs["board"]
        for name in STATIC_BOARDS:
            if name in board:
                self.boards[name] = np.array(board[name], dtype=np.int32)
        for name in CHANGING_BOARDS:
            self._change(name, board[name])
        if "valid_spawns_mask" in board:
            self.boards["valid_spawns_mask"] = np.array(board["valid_spawns_mask"], dtype=bool)

    def _change(self, name: str, values: Any) -> None:
        if not isinstance(values, dict):
            self.boards[name] = np.array(values, dtype=np.int32)
            return
        target = self.boards[name]
        for cell, value in values.items():
            x, y = cell.split(",")
            target[int(x), int(y)] = value

    @property
    def team(self) -> Dict[str, Any]:
        """Own water, metal and factories still to place, and who places first."""
        return self.obs["teams"][self.player]

    def factories(self, player: str) -> Dict[str, Dict[str, Any]]:
        """Living factories of `player` by id."""
        return self.obs["factories"].get(player, {})

    def robots(self, player: str) -> Dict[str, Dict[str, Any]]:
        """Living robots of `player` by id."""
        return self.obs["units"].get(player, {})

    def my_turn_to_place(self) -> bool:
        """Whether the judge accepts a factory of this side now: the sides place in turn, the bid's winner first."""
        return self.team["factories_to_place"] > 0 and bool(self.step % 2 == 1) == bool(self.team["place_first"])


def plain(value: Any) -> Any:
    """The same value in types that `json` writes: numpy arrays and scalars become lists and numbers."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value


def serve(act: Callable[[Dict[str, Any]], Dict[str, Any]], rescue: Optional[Callable[[], Dict[str, Any]]] = None) -> None:
    """Answer every line of stdin with `act(message)` until stdin ends.

    A stray `print` would lose the match, so `sys.stdout` points at stderr while this runs. An exception of `act` is
    reported on stderr and ends the process with exit code 1, which the judge counts as a loss; with `rescue`, that is
    called while the exception is handled, and what it returns is the answer.
    """
    replies = sys.stdout
    sys.stdout = sys.stderr
    try:
        for line in sys.stdin:
            if not line.strip():
                continue
            try:
                answer = json.dumps(plain(act(json.loads(line))))
            except Exception:  # noqa: BLE001 reported, and ends the process unless somebody knows better
                if rescue is None:
                    traceback.print_exc()
                    sys.exit(1)
                answer = json.dumps(rescue())
            replies.write(answer + "\n")
            replies.flush()
    finally:
        sys.stdout = replies


def serve_view(act: Callable[[View], Dict[str, Any]]) -> None:
    """`serve` for an agent that reads a `View`."""
    view = View()

    def answer(message: Dict[str, Any]) -> Dict[str, Any]:
        view.update(message)
        return act(view)

    serve(answer)
