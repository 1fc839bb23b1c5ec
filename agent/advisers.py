"""Agents that can advise a policy (`wrappers.advice`), by the name that `PolicyConfig.adviser` has for them.

Copied into submissions, so it needs numpy only and keeps to Python 3.7.
"""

from __future__ import annotations

from typing import Any, Callable

from agent.scripted.farmer import bot as farmer
from agent.scripted.farmer.bot import Farm
from agent.scripted.protocol import View
from agent.scripted.reaper import bot as reaper
from agent.scripted.reaper.bot import Reap
from engine.config import GameConfig
from wrappers.action import ActionConfig
from wrappers.advice import Advice


class Adviser:
    """A built-in opponent as an agent of the judge's protocol whose memory can be read and set.

    Args:
        act: its decision function.
        mind: what it keeps between turns, with a `memory` of plain values.
    """

    def __init__(self, act: Callable[[Any, View], dict[str, Any]], mind: Any) -> None:
        self._act, self._mind, self._view = act, mind, View()

    def __call__(self, message: dict[str, Any]) -> dict[str, Any]:
        self._view.update(message)
        return self._act(self._mind, self._view)

    @property
    def memory(self) -> Any:
        """Its memory of the match, copied."""
        return self._mind.memory

    @memory.setter
    def memory(self, memory: Any) -> None:
        self._mind.memory = memory


ADVISERS = {"farmer": lambda: Adviser(farmer.act, Farm()), "reaper": lambda: Adviser(reaper.act, Reap())}


def advice_for(policy: Any, actions: ActionConfig, config: GameConfig) -> Advice | None:
    """The advice that this policy wants to see, offered these actions in games by these rules; None if it wants none."""
    name = policy.config.adviser
    return Advice(ADVISERS[name], config, actions.amounts_offered()) if name is not None else None
