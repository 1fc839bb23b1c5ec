"""Cooperative navigation: N agents cover N landmarks and do not bump into each other (`mpe2.simple_spread_v3`).

A port to E environments at once. With the same positions and actions it gives the library's observations and rewards; a
test holds it to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reproduce.tasks.step import Step

SECONDS = 0.1  # of a step
DAMPING = 0.25  # share of the velocity that is lost in a step
SENSITIVITY = 5.0  # force of an action
SIZE = 0.15  # radius of an agent
CONTACT_FORCE = 100.0
CONTACT_MARGIN = 1e-3
# none, left, right, down, up
DIRECTIONS = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float64)


@dataclass(frozen=True)
class SpreadConfig:
    """Names and defaults are those of the library, except that `agents` is its N."""

    agents: int = 3
    local_ratio: float = 0.5
    """Weight of an agent's own collisions; the rest is that of the distances, which all agents share."""
    horizon: int = 25


class Spread:
    """See `reproduce.tasks.Task`. An observation is own velocity and position, then landmarks and the other agents relative to
    oneself, then the others' silent messages, which are zeros and kept so that observations are the library's."""

    def __init__(self, envs: int, seed: int, config: SpreadConfig = SpreadConfig()):
        count = config.agents
        if count < 2:
            raise ValueError(f"agents is {count}; spread needs at least 2.")
        self.config, self.envs, self.agents, self.horizon = config, envs, count, config.horizon
        self.features = 4 + 2 * count + 4 * (count - 1)
        self.actions, self.states = len(DIRECTIONS), 6 * count
        self.kinds = np.zeros(count, np.int64)
        self.random = np.random.default_rng(seed)
        self.position = np.zeros((envs, count, 2))
        self.velocity = np.zeros((envs, count, 2))
        self.landmark = np.zeros((envs, count, 2))
        self.time = np.zeros(envs, np.int64)
        # the others of agent i, in their own order
        self.others = np.array([[j for j in range(count) if j != i] for i in range(count)])
        self.restart(np.ones(envs, np.bool_))

    def restart(self, which: np.ndarray) -> None:
        """Agents at rest and landmarks, both anywhere in the square from -1 to 1."""
        shape = (int(which.sum()), self.agents, 2)
        self.position[which] = self.random.uniform(-1.0, 1.0, shape)
        self.landmark[which] = self.random.uniform(-1.0, 1.0, shape)
        self.velocity[which] = 0.0
        self.time[which] = 0

    def observe(self) -> np.ndarray:
        """[E, N, D] float32."""
        me = self.position[:, :, None]
        others = self.position[:, self.others] - me
        parts = [
            self.velocity,
            self.position,
            (self.landmark[:, None] - me).reshape(self.envs, self.agents, -1),
            others.reshape(self.envs, self.agents, -1),
            np.zeros((self.envs, self.agents, 2 * (self.agents - 1))),
        ]
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def mask(self) -> np.ndarray:
        """Everything is legal."""
        return np.ones((self.envs, self.agents, self.actions), np.bool_)

    def state(self) -> np.ndarray:
        """[E, S] float32: positions, velocities, landmarks."""
        parts = (self.position, self.velocity, self.landmark)
        return np.concatenate([part.reshape(self.envs, -1) for part in parts], axis=1).astype(np.float32)

    def step(self, action: np.ndarray) -> Step:
        """Push, move by the velocity from before, and pay for distances and collisions."""
        force = SENSITIVITY * DIRECTIONS[action] + contact(self.position)
        move(self.position, self.velocity, force)
        self.time += 1
        gap = self.landmark[:, :, None] - self.position[:, None]
        shared = -np.sqrt((gap**2).sum(-1)).min(-1).sum(-1)  # each landmark's nearest agent
        between = self.position[:, :, None] - self.position[:, None]
        close = np.sqrt((between**2).sum(-1)) < 2 * SIZE
        own = -(close.sum(-1) - 1.0)  # an agent is close to itself
        ratio = self.config.local_ratio
        reward = (1.0 - ratio) * shared[:, None] + ratio * own
        return Step(reward.astype(np.float32), np.zeros(self.envs, np.bool_), self.time >= self.horizon)


def move(position: np.ndarray, velocity: np.ndarray, force: np.ndarray) -> None:
    """A step of particles of mass 1, in place: all arrays `[..., 2]`."""
    position += SECONDS * velocity
    velocity *= 1.0 - DAMPING
    velocity += SECONDS * force


def contact(position: np.ndarray) -> np.ndarray:
    """Forces `[E, N, 2]` between agents that touch: a soft wall around each."""
    delta = position[:, :, None] - position[:, None]
    distance = np.sqrt((delta**2).sum(-1))
    itself = np.eye(position.shape[1], dtype=np.bool_)
    distance[:, itself] = 1.0  # its delta is 0, so it does not push itself
    depth = CONTACT_MARGIN * np.logaddexp(0.0, (2 * SIZE - distance) / CONTACT_MARGIN)
    return (CONTACT_FORCE * (depth / distance)[..., None] * delta).sum(2)
