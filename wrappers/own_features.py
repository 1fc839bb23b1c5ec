"""Features of a user's own: functions from what is seen in a turn to a number for each row, beside those of `wrappers.features`.

Copied into submissions, so it needs numpy only and keeps to Python 3.7.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from engine.config import MAX_FACTORIES, MAX_ROBOTS
from engine.parts import load_part


class Seen(NamedTuple):
    """N games before a turn and their M rows, as in `wrappers.observation.Observation`; of one side of one game on the judge's machine."""

    games: Any  # records of `GAME_DTYPE`
    rules: Any
    side: np.ndarray  # [M] int32, 2 * game + player
    slot: np.ndarray  # [M] int16
    kind: np.ndarray  # [M] int8, 0 factory, 1 light, 2 heavy
    cell: np.ndarray  # [M] int16
    home: np.ndarray  # [M] int16
    mask: np.ndarray  # [M] int64

    def robots(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of robots, their games, and their numbers in the record's `robot_...` arrays."""
        return robots_of(self.side, self.slot)

    def factories(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of factories, in `factory_...`."""
        return factories_of(self.games, self.side, self.slot)


Feature = Callable[[Seen], np.ndarray]


def robots_of(side: np.ndarray, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of M rows: those that are robots, their games, and their numbers in the record's `robot_...` arrays."""
    rows = np.flatnonzero(slot >= MAX_FACTORIES)
    return rows, side[rows] // 2, side[rows] % 2 * MAX_ROBOTS + slot[rows] - MAX_FACTORIES


def factories_of(games: Any, side: np.ndarray, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of factories, in `factory_...`."""
    rows = np.flatnonzero(slot < MAX_FACTORIES)
    game = side[rows] // 2
    placed = np.arange(games["factory_owner"].shape[1]) < games["factory_count"][game][:, None]
    own = games["factory_owner"][game] == (side[rows] % 2)[:, None]
    return rows, game, np.argmax(placed & own & (games["factory_slot"][game] == slot[rows][:, None]), axis=1)


def features_of(names: Sequence[str]) -> tuple[Feature, ...]:
    """The functions of these names (`engine.parts`). Raises `ValueError` for what cannot be loaded or called."""
    features = tuple(load_part(name) for name in names)
    for name, feature in zip(names, features):
        if not callable(feature):
            raise ValueError(f"{name} is no function.")
    return features


def write_own(features: Sequence[Feature], seen: Seen, out: np.ndarray) -> None:
    """Ask each function for its column of `out [M, K]`. Raises `ValueError` for an answer of another shape, or that is not finite."""
    rows = len(seen.slot)
    if not rows:
        return
    for k, feature in enumerate(features):
        value = np.asarray(feature(seen))
        name = getattr(feature, "__name__", str(feature))
        if value.shape != (rows,):
            raise ValueError(f"The feature {name} gives shape {value.shape}; ({rows},) is expected, a number for each row.")
        if not np.isfinite(value).all():
            raise ValueError(f"The feature {name} gives a number that is not finite.")
        out[:, k] = value
