"""gymnasium: one heavy robot that must keep its factory alive, and one player's whole team against an opponent.

The first is the single-robot bench on which PPO variants are compared. Both sides have one factory. The own one builds a
heavy in the first turn, which is played by `reset`; from then on the agent moves that robot and nothing else acts. The own
factory starts with 150 water and drinks 1 a turn, so living longer takes ice. The enemy's factory is given the water that
it drinks until the end: when it dies, so does the game.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from engine.config import MAX_FACTORIES, GameConfig
from engine.maps import MapPool
from engine.state import ICE_GOT, WATER
from wrappers.action import BUILD_HEAVY, ActionConfig
from wrappers.adapters.padding import LIMIT, ROBOT_KINDS, SEEN, PaddedGames, list_choices, team_space
from wrappers.adapters.rival import Rival, with_rival
from wrappers.features import ROBOT_WIDTH
from wrappers.observation import SCALARS
from wrappers.rewards import RewardConfig
from wrappers.vec_env import Opening, VecEnv


def single_robot_config(**changes: Any) -> GameConfig:
    """The rules of the bench: 48x48, one factory a side."""
    return GameConfig(**{"min_factories": 1, "max_factories": 1, **changes})


class SingleRobotEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One heavy robot of player_0.

    Args:
        pool: maps with one factory a side (`single_robot_config`).
        opening: writes bids and placements, such as `agent.opening.opening`.
        reward: the agent gets the reward of the robot's row (default `RewardConfig()`).
        actions: what is offered (default `ActionConfig.survival()`: wait, move, hand over ice, pick up power, dig ice).
        max_turns: truncate after so many turns (default: play to the end).

    Observation: float32 `[ROBOT_WIDTH + SCALARS]`, the robot's features (zero once it is dead), then its side's scalars.
    Action: a number of `choices.names`; one that `action_masks()` forbids becomes WAIT and is counted in `info["illegal"]`.
    Terminated when the robot or the own factory is dead, or the game ends. `info["turn"]` is the turn, and at the end
    `info["ice"]` the ice that the factory got.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        pool: MapPool,
        opening: Opening,
        reward: RewardConfig | None = None,
        actions: ActionConfig | None = None,
        max_turns: int | None = None,
    ) -> None:
        if pool.config.max_factories != 1:
            raise ValueError(f"max_factories of the pool's config is {pool.config.max_factories}; one factory a side is expected.")
        actions = actions or ActionConfig.survival()
        self.games = VecEnv(pool.config, 1, pool, opening, reward, actions, max_turns=max_turns)
        self.choices = list_choices(actions, ROBOT_KINDS)
        self.observation_space = spaces.Box(-LIMIT, LIMIT, (ROBOT_WIDTH + SCALARS,), np.float32)
        self.action_space = spaces.Discrete(len(self.choices))
        self.render_mode = None
        self._row: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.games.rng = self.np_random
        obs = self.games.reset()
        game, rules = self.games.games[0], self.games.rules
        enemy = (game["factory_owner"] == 1) & (game["factory_alive"] == 1)
        game["factory_cargo"][enemy, WATER] = int(rules["factory_water_consumption"]) * int(rules["max_episode_length"])
        action = np.zeros((obs.rows, 4), np.int64)
        action[obs.side == 0, 0] = BUILD_HEAVY
        self.games.step(action)
        self._find()
        if self._row is None:
            raise RuntimeError("The factory could not build its heavy; the rules must give it the metal and the power for one.")
        return self._observation(), {"turn": int(game["real_step"]), "illegal": 0}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self._row is None or self.games.over[0]:
            raise RuntimeError("The episode is over (or has not begun); call reset() before step().")
        row, number = self._row, int(action)
        illegal = not self.action_masks()[number]
        chosen = np.zeros((self.games.obs.rows, 4), np.int64)
        chosen[row] = self.choices.action[0 if illegal else number]
        step = self.games.step(chosen)
        reward = float(step.reward[row])
        self._find()
        terminated = bool(step.done[0]) or self._row is None
        truncated = bool(step.truncated[0]) and not terminated
        info: dict[str, Any] = {"turn": int(self.games.games[0]["real_step"]), "illegal": int(illegal)}
        if terminated or truncated:
            info["ice"] = int(self.games.games[0]["factory_total"][0, ICE_GOT])
        return self._observation(), reward, terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """Which choices are legal now, `[n] bool`; only WAIT once the robot is dead."""
        if self._row is None:
            return np.arange(len(self.choices)) == 0
        return self.choices.legal(self.games.obs.mask[self._row : self._row + 1])[0]

    def _find(self) -> None:
        """The row of the robot, the only one of its side; None if it is dead."""
        obs = self.games.obs
        rows = np.flatnonzero((obs.side == 0) & (obs.slot >= MAX_FACTORIES))
        self._row = int(rows[0]) if len(rows) else None

    def _observation(self) -> np.ndarray:
        obs = self.games.obs
        robot = np.zeros(ROBOT_WIDTH, np.float32) if self._row is None else obs.feature[self._row]
        return np.clip(np.concatenate([robot, obs.scalar[0]]), -LIMIT, LIMIT)


class TeamEnv(gymnasium.Env[Any, np.ndarray]):
    """Player_0's team on S slots against a rival that is part of the environment, or nobody, who stands idle.

    Args: as those of `PaddedGames`, for one game; `rival` plays player_1, its opening included.

    Observation: a dict of `feature [S, D]`, `alive [S]`, `planes [C, P, P]`, `scalar [G]`.
    Action: `MultiDiscrete([K] * S)`, a number of `choices.names` for each slot; `action_masks()` says what is legal,
    `[S * K] bool`, as sb3-contrib asks for it. What it forbids becomes WAIT and is counted in `info["illegal"]`.
    Reward: the sum of the side's row rewards. At the end `info["result"]` is the `GameResult`.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        pool: MapPool,
        opening: Opening,
        slots: int = 64,
        reward: RewardConfig | None = None,
        actions: ActionConfig | None = None,
        max_turns: int | None = None,
        rival: Rival | None = None,
    ) -> None:
        self.padded = PaddedGames(pool, 1, with_rival(opening, rival), slots, reward, actions, max_turns=max_turns)
        self.rival, self.choices = rival, self.padded.choices
        self.observation_space = team_space(self.padded)
        self.action_space = spaces.MultiDiscrete([len(self.choices)] * slots)
        self.render_mode = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.padded.games.rng = self.np_random
        self.padded.reset()
        return self._observation(), {"turn": 0, "illegal": 0}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        if self.padded.games.over[0]:
            raise RuntimeError("The episode is over (or has not begun); call reset() before step().")
        step = self.padded.step(np.stack([action, np.zeros_like(action)]), self._override)
        info: dict[str, Any] = {"turn": int(self.padded.games.games[0]["real_step"]), "illegal": int(step.illegal[0])}
        for result in step.finished:
            info["result"] = result
        return self._observation(), float(step.reward[0]), bool(step.done[0]), bool(step.truncated[0]), info

    def action_masks(self) -> np.ndarray:
        """Which choices are legal now, `[S * K] bool`."""
        return self.padded.now["action_mask"][0].ravel() != 0

    def _override(self, games: np.recarray, orders: np.recarray) -> None:
        if self.rival is not None:
            self.rival.write_orders(games[0], self.padded.games.rules, 1, orders[0])

    def _observation(self) -> dict[str, np.ndarray]:
        return {name: self.padded.now[name][0] for name in SEEN}
