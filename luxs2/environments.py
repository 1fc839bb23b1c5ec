"""The environments of other libraries, made in one call: for `gymnasium.make`, and the PettingZoo one (which has no names).

docs/adapters.md says what each shows and takes; `wrappers.adapters` has the classes, for maps and openings of one's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.lichen_opening import opening_of
from agent.opening import opening
from arena.evaluate import Side, built_in
from engine.config import GameConfig
from engine.maps import MapPool
from wrappers.action import ActionConfig
from wrappers.adapters.entity_env import EntityEnv
from wrappers.adapters.gymnasium_env import SingleRobotEnv, TeamEnv, single_robot_config
from wrappers.rewards import RewardConfig


def single_robot(
    map_size: int = 48,
    maps: Iterable[int] = range(64),
    reward: RewardConfig | None = None,
    actions: ActionConfig | None = None,
    max_turns: int | None = None,
    render_mode: None = None,
) -> SingleRobotEnv:
    """`gymnasium.make("luxs2/SingleRobot-v0")`: one heavy that keeps its factory alive."""
    return SingleRobotEnv(MapPool(single_robot_config(map_size=map_size), maps), opening, reward, actions, max_turns)


def team(
    opponent: str | None = "idle",
    map_size: int = 48,
    maps: Iterable[int] = range(64),
    slots: int = 64,
    reward: RewardConfig | None = None,
    actions: ActionConfig | None = None,
    max_turns: int | None = None,
    render_mode: None = None,
) -> TeamEnv:
    """`gymnasium.make("luxs2/Team-v0")`: player_0's whole team against a built-in opponent."""
    config, rival, actions = _game(opponent, map_size, actions)
    return TeamEnv(MapPool(config, maps), opening_of(actions), slots, reward, actions, max_turns, rival)


def parallel_env(
    opponent: str | None = None,
    map_size: int = 48,
    maps: Iterable[int] = range(64),
    robots: int = 64,
    reward: RewardConfig | None = None,
    actions: ActionConfig | None = None,
    seed: int = 0,
    max_turns: int | None = None,
) -> EntityEnv:
    """PettingZoo with an agent for every entity; with a built-in opponent those of player_0, else those of both players."""
    config, rival, actions = _game(opponent, map_size, actions)
    return EntityEnv(MapPool(config, maps), opening_of(actions), robots, reward, actions, seed, max_turns, rival)


def _game(opponent: str | None, map_size: int, actions: ActionConfig | None) -> tuple[GameConfig, Any, ActionConfig]:
    config = GameConfig.for_map_size(map_size)
    rival: Side | None = None if opponent is None else built_in(opponent).side(config)
    return config, rival, actions or ActionConfig()
