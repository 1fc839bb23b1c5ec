"""The game, its agents and their training from Python; docs/api.md shows each of these at work.

    env = luxs2.make(8)
    agent = luxs2.load("shipped")
    env.reset()
    env.step(agent.act(env))

Everything is imported when it is first used, so that `import luxs2` does not wait for torch. Importing it names the
environments for gymnasium, `gymnasium.make("luxs2/SingleRobot-v0")` and `"luxs2/Team-v0"`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from luxs2.api import Actor, evaluate, load, make, play, random_actions, train
    from luxs2.environments import parallel_env, single_robot, team

WHERE = {
    "luxs2.api": ("Actor", "evaluate", "load", "make", "play", "random_actions", "train"),
    "luxs2.environments": ("parallel_env", "single_robot", "team"),
}
__all__ = ["Actor", "evaluate", "load", "make", "parallel_env", "play", "random_actions", "single_robot", "team", "train"]

gymnasium.register("luxs2/SingleRobot-v0", "luxs2.environments:single_robot")
gymnasium.register("luxs2/Team-v0", "luxs2.environments:team")


def __getattr__(name: str) -> Any:
    for module, names in WHERE.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"luxs2 has no {name!r}; it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return sorted(__all__)
