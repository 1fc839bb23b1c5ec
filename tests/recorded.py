"""Matches between built-in agents on the fast engine, recorded as a replay file holds them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from agent.scripted import make_act
from engine.config import GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from wrappers.judge import PLAYERS
from wrappers.scripted import ScriptedSide, judge_observation

SIZE = 24


def plain(value: Any) -> Any:
    """The value as JSON has it."""
    return json.loads(json.dumps(value, default=lambda x: np.asarray(x).tolist()))


def record(names: tuple[str, str], seed: int, turns: int) -> dict[str, Any]:
    """The first turns of a match on a small map, the opening counted, as the content of a replay."""
    config = GameConfig.for_map_size(SIZE)
    engine = Engine(config, 1)
    engine.reset(0, MapPool(config, [seed]), 0)
    observations, actions = [], []

    def recorder(name: str) -> Any:
        act = make_act(name)

        def answer(message: dict[str, Any]) -> dict[str, Any]:
            actions.append(plain(act(message)))
            return actions[-1]

        return answer

    sides = [ScriptedSide(lambda name=name: recorder(name), config) for name in names]
    for _ in range(turns):
        observations.append(plain(judge_observation(engine.games[0], SIZE)))
        for player, side in enumerate(sides):
            side.write_orders(engine.games[0], engine.rules, player, engine.orders[0])
        engine.step()
    observations.append(plain(judge_observation(engine.games[0], SIZE)))
    pairs = [dict(zip(PLAYERS, actions[i : i + 2])) for i in range(0, 2 * turns, 2)]
    return {"observations": observations, "actions": pairs, "metadata": {"seed": seed}, "env_cfg": config.official()}
