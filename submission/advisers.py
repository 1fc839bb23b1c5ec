"""Agents that can advise a policy (`wrappers.advice`), by the name that `PolicyConfig.adviser` has for them.

Copied into submissions, so it needs numpy only and keeps to Python 3.7.
"""

from __future__ import annotations

from typing import Any

from engine.config import GameConfig
from submission.opponents.farmer import bot as farmer
from submission.opponents.farmer.bot import Farm
from submission.opponents.reaper import bot as reaper
from submission.opponents.reaper.bot import Reap
from submission.protocol import View
from wrappers.action import ActionConfig
from wrappers.advice import Advice


class Farmer:
    """The built-in opponent `farmer` as an agent of the judge's protocol whose memory can be read and set."""

    def __init__(self) -> None:
        self._farm = Farm()
        self._view = View()

    def __call__(self, message: dict[str, Any]) -> dict[str, Any]:
        self._view.update(message)
        return farmer.act(self._farm, self._view)

    @property
    def memory(self) -> dict[str, Any]:
        """Its books of the match, copied."""
        return {name: dict(book) for name, book in vars(self._farm).items()}

    @memory.setter
    def memory(self, memory: dict[str, Any]) -> None:
        for name, book in memory.items():
            setattr(self._farm, name, dict(book))


class Reaper:
    """The same of `reaper`."""

    def __init__(self) -> None:
        self._reap = Reap()
        self._view = View()

    def __call__(self, message: dict[str, Any]) -> dict[str, Any]:
        self._view.update(message)
        return reaper.act(self._reap, self._view)

    @property
    def memory(self) -> dict[str, Any]:
        """Its farm's books and its reapers, copied."""
        return {"farm": {name: dict(book) for name, book in vars(self._reap.farm).items()}, "reapers": sorted(self._reap.reapers)}

    @memory.setter
    def memory(self, memory: dict[str, Any]) -> None:
        for name, book in memory["farm"].items():
            setattr(self._reap.farm, name, dict(book))
        self._reap.reapers = set(memory["reapers"])


ADVISERS = {"farmer": Farmer, "reaper": Reaper}


def advice_for(policy: Any, actions: ActionConfig, config: GameConfig) -> Advice | None:
    """The advice that this policy wants to see, offered these actions in games by these rules; None if it wants none."""
    name = policy.config.adviser
    return Advice(ADVISERS[name], config, actions.amounts_offered()) if name is not None else None
