"""Advice: what a scripted agent would do, shown to a policy with every row.

An adviser plays nothing. It is asked for each side in each turn (`wrappers.teacher`), what it would do stands in the last
columns of the rows' features, and the policy does that or something better. It remembers things of its match, so it is
told what was done (`watch`), and its memory is part of a run's state.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable

import numpy as np

from engine.config import GameConfig
from wrappers.observation import Observation
from wrappers.teacher import Teacher, allowed

ADVICE = 5  # columns: kind, direction, resource and amount of an action, and 1 if there is advice


def write_advice(obs: Observation, rows: slice, action: np.ndarray) -> None:
    """Put the advised actions `[m, 4]` into the features of these rows."""
    columns = obs.feature[rows, -ADVICE:]
    columns[:, :4] = action
    columns[:, 4] = 1


def ask(teacher: Teacher, game: Any, rules: Any, slot: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the adviser would do with a side's rows `[m]`: legal actions `[m, 4]`; to wait, where it wants what may not be done."""
    action, said = teacher.decide(game, rules, slot, mask)
    return action * (said & allowed(mask, action))[:, None]


class Advice:
    """The advisers of the sides of N games, made when they are first asked.

    Args:
        make: makes an adviser: an agent of the judge's protocol with a `memory` of plain values that can be read and set.
        config: the rules.
        amounts: [LEVELS] bool, the amounts on offer.
    """

    def __init__(self, make: Callable[[], Any], config: GameConfig, amounts: list[bool]) -> None:
        self.make, self.config, self.amounts = make, config, amounts
        self.teachers: dict[int, Teacher] = {}  # by side
        self.told: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # of sides that were asked this turn: slots, advised actions

    def write(self, games: Any, rules: Any, obs: Observation, sides: Iterable[int]) -> None:
        """Advise these sides `2 * game + player` of an observation; those that were asked this turn already are not asked again."""
        for side in sides:
            rows = slice(int(obs.first[side]), int(obs.first[side + 1]))
            if rows.start == rows.stop:
                continue
            if side not in self.told:
                if side not in self.teachers:
                    self.teachers[side] = Teacher(self.make, self.config, side % 2, self.amounts)
                slot = obs.slot[rows].copy()
                self.told[side] = slot, ask(self.teachers[side], games[side // 2], rules, slot, obs.mask[rows])
            write_advice(obs, rows, self.told[side][1])

    def watch(self, obs: Observation, action: np.ndarray) -> None:
        """The rows of this observation do `action [M, 4]`; to be told before the games move on."""
        for side, (slot, _) in self.told.items():
            self.teachers[side].watch(slot, action[obs.first[side] : obs.first[side + 1]])
        self.told = {}

    def forget(self, game: int) -> None:
        """This game is over."""
        for side in (2 * game, 2 * game + 1):
            self.teachers.pop(side, None)
            self.told.pop(side, None)

    def state(self) -> dict[str, Any]:
        """Everything that the advice to come depends on, beside the games."""
        return {str(side): {**teacher.state(), "told": self.told.get(side)} for side, teacher in self.teachers.items()}

    def load_state(self, state: dict[str, Any], games: Any) -> None:
        """Go on from `state()` with the games as they were."""
        self.teachers, self.told = {}, {}
        for name, stored in state.items():
            side = int(name)
            self.teachers[side] = Teacher(self.make, self.config, side % 2, self.amounts)
            self.teachers[side].load_state(stored, games[side // 2])
            if stored["told"] is not None:
                slot, action = stored["told"]
                self.told[side] = slot, action
