"""Replay of whole episodes: a ring of bounded, stated memory, with a second, short memory for MAST's dual buffers.

Both buffers of MAST (arXiv:2409.19391) are first-in-first-out and receive every episode, so that the small one always is
the newest part of the large one: one store serves both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class EpisodeReplay:
    """The newest `capacity` episodes of at most `horizon` steps; a column a quantity, allocated at once.

    Args:
        capacity: episodes.
        recent: episodes of the short memory; 0 for none.
        horizon: T, steps of an episode at most.
        agents, features, actions, states: N, D, A, S of the task.
    """

    def __init__(self, capacity: int, recent: int, horizon: int, agents: int, features: int, actions: int, states: int):
        if capacity < 1 or not 0 <= recent <= capacity:
            raise ValueError(f"capacity is {capacity} and recent is {recent}; accepted are at least 1, and 0 up to the capacity.")
        self.capacity, self.recent, self.horizon = capacity, recent, horizon
        self.columns = {
            "obs": np.zeros((capacity, horizon + 1, agents, features), np.float32),
            "state": np.zeros((capacity, horizon + 1, states), np.float32),
            "legal": np.zeros((capacity, horizon + 1, agents, actions), np.bool_),
            "action": np.zeros((capacity, horizon, agents), np.int16),
            "reward": np.zeros((capacity, horizon, agents), np.float32),
            "done": np.zeros((capacity, horizon), np.bool_),
            "length": np.zeros(capacity, np.int32),
        }
        self.added = 0  # episodes ever

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    @property
    def nbytes(self) -> int:
        """Bytes held when full; until then the system lends only what is in use."""
        return sum(column.nbytes for column in self.columns.values())

    def add(self, episodes: dict[str, np.ndarray]) -> None:
        """Episodes, each column `[E, ...]` in order of their end; the oldest make room."""
        count = len(episodes["length"])
        if count > self.capacity:
            raise ValueError(f"{count} episodes come at once; the replay holds {self.capacity}.")
        places = (self.added + np.arange(count)) % self.capacity
        for name, column in self.columns.items():
            column[places] = episodes[name]
        self.added += count

    def sample(self, old: int, new: int, random: np.random.Generator) -> np.ndarray:
        """Places of `old` episodes of the whole memory and then `new` of the short one, each without repetition."""
        held = len(self)
        if held < old or min(held, self.recent) < new:
            raise ValueError(f"{old} and {new} episodes are asked for; the memories hold {held} and {min(held, self.recent)}.")
        ages = random.choice(held, old, replace=False)
        if new:
            ages = np.concatenate([ages, random.choice(min(held, self.recent), new, replace=False)])
        return (self.added - 1 - ages) % self.capacity  # age 0 is the newest

    def batch(self, places: np.ndarray) -> dict[str, Tensor]:
        """Columns of these episodes with time first, `[T, B, ...]` (`T + 1` for what is seen), cut to the longest one."""
        longest = int(self.columns["length"][places].max())
        out = {}
        for name, column in self.columns.items():
            part = column[places]
            if part.ndim > 1:
                part = part[:, : longest + (column.shape[1] > self.horizon)].swapaxes(0, 1)
            out[name] = torch.from_numpy(np.ascontiguousarray(part))
        return out

    def state(self) -> dict[str, Any]:
        """What is held, for a checkpoint."""
        return {"added": self.added, **{name: column[: len(self)].copy() for name, column in self.columns.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        self.added = state["added"]
        for name, column in self.columns.items():
            column[: len(self)] = state[name]
