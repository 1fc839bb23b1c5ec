"""Blind-particle spread: agents of several colours must each go to their own colour's landmark, and none sees a colour.

The task of Christianos et al. 2021 (arXiv:2102.07475) that AdaPS is published on, with its groups: `[10]x3` is 10 agents of
each of 3 colours. What colour an agent has shows only in its reward. Agents do not collide and do not see each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reproduce.tasks.spread import DIRECTIONS, SENSITIVITY, move
from reproduce.tasks.step import Step


@dataclass(frozen=True)
class BlindParticlesConfig:
    """`[group_size] x colours` agents."""

    group_size: int = 10
    colours: int = 3
    horizon: int = 50


class BlindParticles:
    """See `reproduce.tasks.Task`. An observation is own velocity and position, and all landmarks relative to oneself, in the order
    of their colours. Agents of a colour follow each other: agent i has colour `i // group_size`, in every episode."""

    def __init__(self, envs: int, seed: int, config: BlindParticlesConfig = BlindParticlesConfig()):
        if config.group_size < 1 or config.colours < 1:
            raise ValueError(f"group_size is {config.group_size} and colours {config.colours}; both must be at least 1.")
        self.config, self.envs, self.horizon = config, envs, config.horizon
        self.agents = config.group_size * config.colours
        self.colour = np.repeat(np.arange(config.colours), config.group_size)  # hidden from the agents
        self.features = 4 + 2 * config.colours
        self.actions, self.states = len(DIRECTIONS), 4 * self.agents + 2 * config.colours
        self.kinds = np.zeros(self.agents, np.int64)
        self.random = np.random.default_rng(seed)
        self.position = np.zeros((envs, self.agents, 2))
        self.velocity = np.zeros((envs, self.agents, 2))
        self.landmark = np.zeros((envs, config.colours, 2))
        self.time = np.zeros(envs, np.int64)
        self.restart(np.ones(envs, np.bool_))

    def restart(self, which: np.ndarray) -> None:
        """Agents at rest and landmarks, both anywhere in the square from -1 to 1."""
        count = int(which.sum())
        self.position[which] = self.random.uniform(-1.0, 1.0, (count, self.agents, 2))
        self.landmark[which] = self.random.uniform(-1.0, 1.0, (count, self.config.colours, 2))
        self.velocity[which] = 0.0
        self.time[which] = 0

    def observe(self) -> np.ndarray:
        """[E, N, D] float32."""
        gaps = self.landmark[:, None] - self.position[:, :, None]
        parts = (self.velocity, self.position, gaps.reshape(self.envs, self.agents, -1))
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def mask(self) -> np.ndarray:
        """Everything is legal."""
        return np.ones((self.envs, self.agents, self.actions), np.bool_)

    def state(self) -> np.ndarray:
        """[E, S] float32: positions, velocities, landmarks."""
        parts = (self.position, self.velocity, self.landmark)
        return np.concatenate([part.reshape(self.envs, -1) for part in parts], axis=1).astype(np.float32)

    def step(self, action: np.ndarray) -> Step:
        """The reward of an agent is minus its distance to its own colour's landmark."""
        move(self.position, self.velocity, SENSITIVITY * DIRECTIONS[action])
        self.time += 1
        gap = self.landmark[:, self.colour] - self.position
        reward = -np.sqrt((gap**2).sum(-1))
        return Step(reward.astype(np.float32), np.zeros(self.envs, np.bool_), self.time >= self.horizon)
