"""Level-based foraging by the library `lbforaging` itself: agents lift food that only enough levels together can lift.

The library plays one environment at a time, so this task is slower than the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reproduce.tasks.step import Step


@dataclass(frozen=True)
class ForagingConfig:
    size: int = 6
    agents: int = 2
    food: int = 2
    sight: int = 6
    """Cells that an agent sees in each direction."""
    coop: bool = False
    """Every food needs all agents."""
    horizon: int = 50


class Foraging:
    """See `reproduce.tasks.Task`. An observation is the library's: `(y, x, level)` of each food, then of each agent, oneself first,
    divided by the grid's size so that it is about -1..1. Actions: none, north, south, west, east, load."""

    def __init__(self, envs: int, seed: int, config: ForagingConfig = ForagingConfig()):
        try:
            from lbforaging.foraging.environment import ForagingEnv
        except ImportError as error:
            raise ValueError("The task foraging needs the package lbforaging; `pip install -r requirements.txt` has it.") from error
        self.config, self.envs, self.agents, self.horizon = config, envs, config.agents, config.horizon
        self.features, self.actions = 3 * (config.food + config.agents), 6
        self.states = self.features * self.agents
        self.kinds = np.zeros(config.agents, np.int64)
        self.games = [
            ForagingEnv(
                players=config.agents,
                min_player_level=1,
                max_player_level=2,
                min_food_level=1,
                max_food_level=None,
                field_size=(config.size, config.size),
                max_num_food=config.food,
                sight=config.sight,
                max_episode_steps=config.horizon + 1,  # so that food left at the end is a truncation, which is ours to say
                force_coop=config.coop,
            )
            for _ in range(envs)
        ]
        self.time = np.zeros(envs, np.int64)
        self.seen = np.zeros((envs, config.agents, self.features), np.float32)
        seeds = np.random.default_rng(seed).integers(2**31, size=envs)
        for env, game in enumerate(self.games):
            self.seen[env] = game.reset(seed=int(seeds[env]))[0]

    def restart(self, which: np.ndarray) -> None:
        """New positions and levels."""
        for env in np.flatnonzero(which):
            self.seen[env] = self.games[env].reset()[0]
        self.time[which] = 0

    def observe(self) -> np.ndarray:
        """[E, N, D] float32."""
        return self.seen / np.float32(self.config.size)

    def mask(self) -> np.ndarray:
        """[E, N, A] bool: moves into an empty cell of the field, loading beside food."""
        out = np.zeros((self.envs, self.agents, self.actions), np.bool_)
        for env, game in enumerate(self.games):
            for i, player in enumerate(game.players):
                legal = (game._valid_actions or {})[player]
                out[env, i, [action.value for action in legal]] = True
        return out

    def state(self) -> np.ndarray:
        """[E, S] float32: all observations."""
        return self.observe().reshape(self.envs, -1)

    def step(self, action: np.ndarray) -> Step:
        """The library's rewards: shares of all food levels, which sum to 1 over an episode with everything eaten."""
        reward = np.zeros((self.envs, self.agents), np.float32)
        done = np.zeros(self.envs, np.bool_)
        for env, game in enumerate(self.games):
            seen, reward[env], done[env], _, _ = game.step(action[env].tolist())
            self.seen[env] = seen
        self.time += 1
        return Step(reward, done, ~done & (self.time >= self.horizon))
