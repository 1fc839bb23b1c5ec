"""The game, its agents and their training from Python; docs/api.md shows each of these at work.

    env = luxs2.make(8)
    agent = luxs2.load("shipped")
    env.reset()
    env.step(agent.act(env))

Everything is imported when it is first used, so that `import luxs2` (and gymnasium, which looks for environments here)
does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luxs2.api import Actor, evaluate, load, make, play, random_actions, train
    from luxs2.environments import parallel_env, single_robot, team

WHERE = {
    "luxs2.api": ("Actor", "evaluate", "load", "make", "play", "random_actions", "train"),
    "luxs2.environments": ("parallel_env", "single_robot", "team"),
}
__all__ = ["Actor", "evaluate", "load", "make", "parallel_env", "play", "random_actions", "single_robot", "team", "train"]


def __getattr__(name: str) -> Any:
    for module, names in WHERE.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"luxs2 has no {name!r}; it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return sorted(__all__)
