"""The two-step matrix game of QMIX (Rashid et al. 2018, arXiv:1803.11485): where a sum of values is not enough.

The first agent's first action chooses which of two games both play next. In one everything pays 7. The other pays 8, but
only if both choose their second action, and 0 or 1 else: the best fit by a sum of two agents' values under random play says
6.5 there, so that VDN takes the 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reproduce.tasks.step import Step

SAFE = 7.0
PAYOFF = np.array([[0.0, 1.0], [1.0, 8.0]], np.float32)


@dataclass(frozen=True)
class TwoStepConfig:
    """Nothing to choose."""


class TwoStep:
    """See `reproduce.tasks.Task`. Both agents see which of the three states it is, one-hot; both are paid the same."""

    def __init__(self, envs: int, seed: int, config: TwoStepConfig = TwoStepConfig()):
        self.config, self.envs, self.agents, self.horizon = config, envs, 2, 2
        self.features = self.states = 3
        self.actions = 2
        self.kinds = np.zeros(2, np.int64)
        self.place = np.zeros(envs, np.int64)  # 0: first step, 1: the safe game, 2: the other

    def restart(self, which: np.ndarray) -> None:
        """Back to the first step."""
        self.place[which] = 0

    def observe(self) -> np.ndarray:
        """[E, N, D] float32."""
        return np.repeat(self.state()[:, None], self.agents, axis=1)

    def mask(self) -> np.ndarray:
        """Everything is legal."""
        return np.ones((self.envs, self.agents, self.actions), np.bool_)

    def state(self) -> np.ndarray:
        """[E, S] float32."""
        return np.eye(3, dtype=np.float32)[self.place]

    def step(self, action: np.ndarray) -> Step:
        """Nothing for the first step, the game's payoff for the second, which is the last."""
        first = self.place == 0
        paid = np.where(self.place == 1, SAFE, PAYOFF[action[:, 0], action[:, 1]])
        reward = np.where(first, 0.0, paid).astype(np.float32)
        self.place = np.where(first, 1 + action[:, 0], self.place)
        return Step(np.repeat(reward[:, None], self.agents, axis=1), ~first, np.zeros(self.envs, np.bool_))
