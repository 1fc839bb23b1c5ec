"""Cue: each agent must name a symbol that another agent sees. Here messages matter, and it is known who needs whom.

Agent i sees its own symbol among distractors, and whether it is asked for its own or for that of its teacher `teacher[i]`,
another agent, the same in every episode. It is paid 1 for the right answer. An episode is one step. Without messages an
agent can answer what is asked of itself and guess the rest: `alone` is the best mean reward then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reproduce.tasks.step import Step


@dataclass(frozen=True)
class CueConfig:
    agents: int = 4
    symbols: int = 4
    distractors: int = 16
    """Numbers in an observation that say nothing."""
    own: float = 0.5
    """Share of questions about the own symbol. At 0 nothing that an agent does depends on its own symbol."""


class Cue:
    """See `reproduce.tasks.Task`. An observation is the own symbol one-hot, the question (1: of the teacher), distractors."""

    def __init__(self, envs: int, seed: int, config: CueConfig = CueConfig()):
        if config.agents < 2 or config.symbols < 2 or not 0.0 <= config.own <= 1.0:
            raise ValueError(
                f"agents is {config.agents}, symbols {config.symbols}, own {config.own}; accepted are at least 2, at least 2, and 0 to 1."
            )
        self.config, self.envs, self.agents, self.horizon = config, envs, config.agents, 1
        self.features = config.symbols + 1 + config.distractors
        self.actions, self.states = config.symbols, 2 * config.agents
        self.kinds = np.zeros(config.agents, np.int64)
        # a ring in steps of 2 where that is no self-reference, so that neighbours are not the answer
        stride = 2 if config.agents > 2 else 1
        self.teacher = (np.arange(config.agents) + stride) % config.agents
        self.random = np.random.default_rng(seed)
        self.symbol = np.zeros((envs, config.agents), np.int64)
        self.asked = np.zeros((envs, config.agents), np.bool_)  # of the teacher
        self.noise = np.zeros((envs, config.agents, config.distractors))
        self.restart(np.ones(envs, np.bool_))

    @property
    def alone(self) -> float:
        """The best mean reward of agents that know nothing of each other."""
        return self.config.own + (1.0 - self.config.own) / self.config.symbols

    def restart(self, which: np.ndarray) -> None:
        """New symbols, questions and distractors."""
        shape = (int(which.sum()), self.agents)
        self.symbol[which] = self.random.integers(self.config.symbols, size=shape)
        self.asked[which] = self.random.random(shape) >= self.config.own
        self.noise[which] = self.random.standard_normal((*shape, self.config.distractors))

    def observe(self) -> np.ndarray:
        """[E, N, D] float32."""
        shown = np.eye(self.config.symbols)[self.symbol]
        return np.concatenate([shown, self.asked[..., None], self.noise], axis=-1).astype(np.float32)

    def mask(self) -> np.ndarray:
        """Everything is legal."""
        return np.ones((self.envs, self.agents, self.actions), np.bool_)

    def state(self) -> np.ndarray:
        """[E, S] float32: symbols and questions."""
        return np.concatenate([self.symbol, self.asked], axis=1).astype(np.float32)

    def step(self, action: np.ndarray) -> Step:
        """1 for the right symbol; every episode is over."""
        answer = np.where(self.asked, self.symbol[:, self.teacher], self.symbol)
        reward = (action == answer).astype(np.float32)
        return Step(reward, np.ones(self.envs, np.bool_), np.zeros(self.envs, np.bool_))
