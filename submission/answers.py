"""What every packaged agent shares: reading the judge's messages, and the answer when something breaks.

Copied into submissions, so it needs numpy only and keeps to Python 3.7. Whatever goes wrong inside is written to stderr, counted, and
answered with an order that is legal and does nothing: a lost turn, not a lost match.
"""

from __future__ import annotations

import abc
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from agent.scripted.protocol import FACTION
from wrappers.judge import PLAYERS, JudgeGame

LOW_TIME = 1.0  # seconds of overage below which robots are left to their queues
errors = {"count": 0}  # internal errors of all matches in this process so far


def note_error() -> None:
    """Count the exception that is being handled, and tell stderr."""
    errors["count"] += 1
    try:
        print(f"Internal error {errors['count']}, answered with nothing:", file=sys.stderr)
        traceback.print_exc(file=sys.stderr)
    except (OSError, ValueError):  # nobody listens: stderr is closed, or its disk is full
        return


def lost_turn() -> dict[str, Any]:
    """The answer to a message that cannot be read at all."""
    note_error()
    return {}


class Player(abc.ABC):
    """One side of one match. `errors` counts the turns that were answered with nothing because something broke."""

    def __init__(self, player: str, env_cfg: dict[str, Any]) -> None:
        self.name = player
        self.player = PLAYERS.index(player)
        self.judge = JudgeGame(env_cfg)
        self.errors = 0

    def act(self, obs: dict[str, Any], remaining_overage: float) -> dict[str, Any]:
        """The judge's action for its observation, whole at first and changes later."""
        try:
            self.judge.update(obs)
            if self.judge.game.real_step < 0 or remaining_overage >= LOW_TIME:
                self.order()
            return self.judge.actions(self.player)
        except Exception:  # noqa: BLE001 a turn is lost, not the match
            self.errors += 1
            note_error()
            self.judge.forget_orders()  # some may be written already
            return nothing(obs, self.name)

    @abc.abstractmethod
    def order(self) -> None:
        """Write the orders of this turn to `self.judge.orders`."""


def nothing(obs: Any, player: Any) -> dict[str, Any]:
    """A legal order that does no more than it must: no bid, a factory on the first free cell, no orders in the game itself."""
    try:
        if obs["real_env_steps"] >= 0:
            return {}
        team = obs["teams"].get(player)
        if team is None:
            return {"faction": FACTION, "bid": 0}
        left = team["factories_to_place"]
        step = obs["real_env_steps"] + 2 * obs["board"]["factories_per_team"] + 1
        if left == 0 or bool(step % 2) != bool(team["place_first"]):
            return {}
        x, y = np.argwhere(np.array(obs["board"]["valid_spawns_mask"], dtype=bool))[0]
        return {"spawn": [int(x), int(y)], "water": team["water"] // left, "metal": team["metal"] // left}
    except Exception:  # noqa: BLE001 an observation of another shape than the judge's: told where the turn's error is
        return {}


def answer(make: Callable[[str, Any], Player], players: dict[str, Player], observation: Any, configuration: Any) -> dict[str, Any]:
    """The action for one call of the judge; `players` holds the caller's matches in progress, by side, each made by `make`.

    `observation` and `configuration` are dicts or have attributes; `obs` in it is a dict or JSON text. The rules come
    with the configuration, or in `info` of the first message of the stand-alone protocol.
    """
    obs, name = None, None
    try:
        name = _get(observation, "player")
        obs = _get(observation, "obs")
        obs = json.loads(obs) if isinstance(obs, str) else obs
        if isinstance(obs["board"]["rubble"], list):  # the whole board: a match begins
            env_cfg = _get(_get(observation, "info") or {}, "env_cfg") or _get(configuration, "env_cfg")
            players.pop(name, None)
            players[name] = make(name, env_cfg)
        return players[name].act(obs, float(_get(observation, "remainingOverageTime", 60.0)))
    except Exception:  # noqa: BLE001 the match goes on with idle turns
        note_error()
        return nothing(obs, name)


def _get(source: Any, name: str, default: Any = None) -> Any:
    return source.get(name, default) if isinstance(source, dict) else getattr(source, name, default)
