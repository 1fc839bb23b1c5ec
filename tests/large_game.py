"""A game of 1000 turns with hundreds of robots as a replay, on our engine: what the replay page is timed with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from agent.scripted.protocol import plain
from arena.replay import write_replay
from benchmarks.engine import LOADS, STEPS, start
from engine.config import GameConfig
from engine.engine import Engine
from engine.official import PLAYERS, load_official
from engine.official_actions import step_orders
from wrappers.scripted import judge_observation

DELTAS = ("rubble", "lichen", "lichen_strains")


def write_large_game(path: Path, turns: int = 1000, seed: int = 3) -> Path:
    """The replay of a game that begins with the benchmark's heaviest load: 400 robots and 1000 lichen tiles on 64 x 64."""
    rng = np.random.default_rng(seed)
    config = GameConfig.for_map_size(64)
    load = LOADS["200 robots a side, 1000 lichen tiles"]
    engine = Engine(config, 1)
    load_official(engine.games, 0, start(load, seed))
    game = engine.games[0]
    shown = observe(game)
    observations, actions = [json.dumps(plain(shown))], []
    while len(actions) < turns and not game["done"]:
        chosen = wander(shown, load.watering, rng)
        actions.append(json.dumps(plain(chosen)))
        step_orders(chosen, game, engine.rules, engine.orders[0])
        engine.step()
        before, shown = shown, observe(game)
        observations.append(json.dumps(plain(change(before, shown))))
    metadata = {"seed": seed, "players": {"player_0": "wanderers", "player_1": "ramblers"}, "winner": "", "reason": ""}
    return write_replay(path, observations, actions, metadata, config.official())


def observe(game: Any) -> dict[str, Any]:
    """What the judge would show; its boards are views of the game, which goes on, so they are copied."""
    obs = judge_observation(game, 64)
    return {**obs, "board": {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in obs["board"].items()}}


def change(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """An observation as the judge sends it after the first: of the changing boards only the cells that changed."""
    board = {"factories_per_team": after["board"]["factories_per_team"]}
    for name in DELTAS:
        old, new = before["board"][name], after["board"][name]
        board[name] = {f"{x},{y}": int(new[x, y]) for x, y in np.argwhere(old != new)}
    return {**after, "board": board}


def wander(obs: dict[str, Any], watering: float, rng: np.random.Generator) -> dict[str, Any]:
    """Robots without a queue walk onto a cell that is nobody's, or dig; nobody dies of it. Factories water now and then."""
    size = len(obs["board"]["rubble"])
    factories = [f["pos"] for agent in PLAYERS for f in obs["factories"][agent].values()]
    taken = {(x + dx, y + dy) for x, y in factories for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
    taken |= {tuple(unit["pos"]) for agent in PLAYERS for unit in obs["units"][agent].values()}
    actions: dict[str, Any] = {agent: {} for agent in PLAYERS}
    for agent in PLAYERS:
        for name, unit in obs["units"][agent].items():
            if unit["action_queue"]:
                continue
            direction = int(rng.integers(1, 5))
            x, y = np.array(unit["pos"]) + STEPS[direction]
            if 0 <= x < size and 0 <= y < size and (x, y) not in taken and rng.random() < 0.7:
                taken.add((x, y))
                actions[agent][name] = np.array([[0, direction, 0, 0, 0, 1], [3, 0, 0, 0, 0, int(rng.integers(1, 4))]])
            else:
                actions[agent][name] = np.array([[3, 0, 0, 0, 0, int(rng.integers(2, 7))]])
        for name in obs["factories"][agent]:
            if rng.random() < watering:
                actions[agent][name] = 2
    return actions
