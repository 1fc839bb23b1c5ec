"""Predator-prey on a small grid: a capture needs two predators beside the prey, and one alone is punished.

As in *Fully Independent Communication* (arXiv:2401.15059): 7x7 cells, 4 predators, 2 prey, a capture gives every predator
+5, a lone attempt -0.75, a step -0.01, at most 100 steps. Movement, order of moves and the shy prey follow the public grid
world that the paper plays (Koul 2019, ma-gym). One difference: it never starts anything in the last row and column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reproduce.tasks.step import Step

EMPTY, PREDATOR, PREY, WALL = range(4)
# [x, y]: down, left, up, right, stay
MOVES = np.array([[0, 1], [-1, 0], [0, -1], [1, 0], [0, 0]])
STAY = 4
PREY_MOVES = np.array([0.175, 0.175, 0.175, 0.175, 0.3])
TRIES = 5  # moves that a prey considers; it does not step beside a predator
VIEW = 2  # cells that a predator sees in each direction


@dataclass(frozen=True)
class PredatorPreyConfig:
    size: int = 7
    agents: int = 4
    prey: int = 2
    capture: float = 5.0
    lone_attempt: float = -0.75
    """For all predators, for each prey with exactly one predator beside it."""
    step_cost: float = -0.01
    horizon: int = 100


class PredatorPrey:
    """See `reproduce.tasks.Task`. An observation is the own cell, the prey in the 5x5 cells around, and the time, all in 0..1.

    `grid [E, size + 4, size + 4]` has walls of two cells around it; positions are cells of it, `[x, y]`.
    """

    def __init__(self, envs: int, seed: int, config: PredatorPreyConfig = PredatorPreyConfig()):
        if config.agents < 2 or config.prey < 1 or config.size**2 < 5 * (config.agents + config.prey):
            raise ValueError(
                f"agents is {config.agents}, prey {config.prey}, size {config.size}; accepted are at least 2, at least 1, "
                "and five cells for each."
            )
        self.config, self.envs, self.agents, self.horizon = config, envs, config.agents, config.horizon
        self.features = 2 + (2 * VIEW + 1) ** 2 + 1
        self.actions = len(MOVES)
        self.states = 2 * config.agents + 3 * config.prey + 1
        self.kinds = np.zeros(config.agents, np.int64)
        self.random = np.random.default_rng(seed)
        width = config.size + 2 * VIEW
        self.grid = np.full((envs, width, width), WALL, np.int8)
        self.predator = np.zeros((envs, config.agents, 2), np.int64)
        self.prey = np.zeros((envs, config.prey, 2), np.int64)
        self.alive = np.zeros((envs, config.prey), np.bool_)
        self.time = np.zeros(envs, np.int64)
        self.every = np.arange(envs)
        self.restart(np.ones(envs, np.bool_))

    def restart(self, which: np.ndarray) -> None:
        """Predators anywhere, then each prey anywhere but beside a predator."""
        size = self.config.size
        for env in np.flatnonzero(which):
            inside = self.grid[env, VIEW:-VIEW, VIEW:-VIEW]
            inside[:] = EMPTY
            cells = self.random.permutation(size * size)
            for i in range(self.agents):
                x, y = divmod(int(cells[i]), size)
                self.predator[env, i] = x + VIEW, y + VIEW
                inside[x, y] = PREDATOR
            placed = 0
            for cell in cells[self.agents :]:
                at = np.array(divmod(int(cell), size)) + VIEW
                if placed < self.config.prey and self.beside(np.array([env]), at[None])[0] == 0:
                    self.prey[env, placed] = at
                    self.grid[env, at[0], at[1]] = PREY
                    placed += 1
            if placed < self.config.prey:  # predators cover the whole grid between them: very rare, so try again
                again = np.zeros(self.envs, np.bool_)
                again[env] = True
                self.restart(again)
        self.alive[which] = True
        self.time[which] = 0

    def observe(self) -> np.ndarray:
        """[E, N, D] float32."""
        around = np.arange(-VIEW, VIEW + 1)
        x = self.predator[..., 0, None, None] + around[:, None]
        y = self.predator[..., 1, None, None] + around
        seen = self.grid[self.every[:, None, None, None], x, y] == PREY
        own = (self.predator - VIEW) / (self.config.size - 1)
        time = np.broadcast_to((self.time / self.horizon)[:, None, None], (self.envs, self.agents, 1))
        return np.concatenate([own, seen.reshape(self.envs, self.agents, -1), time], axis=-1).astype(np.float32)

    def mask(self) -> np.ndarray:
        """Everything is legal; who cannot move stays."""
        return np.ones((self.envs, self.agents, self.actions), np.bool_)

    def state(self) -> np.ndarray:
        """[E, S] float32: all cells, who of the prey lives, the time."""
        cells = [(part.reshape(self.envs, -1) - VIEW) / (self.config.size - 1) for part in (self.predator, self.prey)]
        return np.concatenate([*cells, self.alive, (self.time / self.horizon)[:, None]], axis=1).astype(np.float32)

    def beside(self, envs: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """How many predators are beside cells `[K, 2]` of environments `[K]`. A cell may be the first one of the wall."""
        near = cell[:, None] + MOVES[:4]
        return (self.grid[envs[:, None], near[..., 0], near[..., 1]] == PREDATOR).sum(1)

    def step(self, action: np.ndarray) -> Step:
        """Predators move one after the other, then each prey is judged and, if it lives, moves."""
        for i in range(self.agents):
            self.move(self.every, self.predator[:, i], MOVES[action[:, i]], PREDATOR)
        reward = np.full(self.envs, self.config.step_cost)
        for i in range(self.config.prey):
            hunters = np.where(self.alive[:, i], self.beside(self.every, self.prey[:, i]), 0)
            caught = hunters >= 2
            reward += np.where(caught, self.config.capture, 0.0) + np.where(hunters == 1, self.config.lone_attempt, 0.0)
            self.alive[caught, i] = False
            self.grid[self.every[caught], self.prey[caught, i, 0], self.prey[caught, i, 1]] = EMPTY
            self.flee(i)
        self.time += 1
        done = ~np.asarray(self.alive.any(1))
        each = np.repeat(reward[:, None], self.agents, axis=1).astype(np.float32)
        return Step(each, done, ~done & (self.time >= self.horizon))

    def flee(self, i: int) -> None:
        """Move prey i where it lives: the first of five random moves that does not end beside a predator, else stay."""
        envs = np.flatnonzero(self.alive[:, i])
        tries = self.random.choice(len(MOVES), size=(TRIES, len(envs)), p=PREY_MOVES)
        chosen = np.full(len(envs), STAY)
        open_ = np.ones(len(envs), np.bool_)
        for move in tries:
            shy = self.beside(envs, self.prey[envs, i] + MOVES[move]) == 0
            chosen[open_ & shy] = move[open_ & shy]
            open_ &= ~shy
        cell = self.prey[envs, i]
        self.move(envs, cell, MOVES[chosen], PREY)
        self.prey[envs, i] = cell

    def move(self, envs: np.ndarray, cell: np.ndarray, step: np.ndarray, what: int) -> None:
        """Move one thing in each of `envs [K]` from `cell [K, 2]`, in place, where the cell it wants is empty."""
        wanted = cell + step
        free = self.grid[envs, wanted[:, 0], wanted[:, 1]] == EMPTY
        movers = envs[free]
        self.grid[movers, cell[free, 0], cell[free, 1]] = EMPTY
        self.grid[movers, wanted[free, 0], wanted[free, 1]] = what
        cell[free] = wanted[free]
