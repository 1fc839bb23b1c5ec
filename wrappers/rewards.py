"""Rewards of rows: named terms for what each entity did in the last turn, from the engine's events.

The default is the published survival shaping: with `f = 1 + 0.1 * (T - t) / T` at turn t of T, a robot gets
`f / 2 * (0.1 * ice dug / 4 + ice handed over / 4)` and a factory `f / 2 * ice received / 4`, all times `scale`.
Every other term has weight 0 until asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine.config import MAX_FACTORIES, MAX_ROBOTS, check_range
from engine.jit import jit
from engine.parts import load_part
from engine.state import (
    HEAVIES_BUILT,
    ICE_DUG,
    ICE_GIVEN,
    ICE_GOT,
    LICHEN_DUG,
    LICHEN_GROWN,
    LIGHTS_BUILT,
    METAL_MADE,
    ORE_DUG,
    ORE_GIVEN,
    ORE_GOT,
    POWER_TAKEN,
    RUBBLE_DUG,
    WATER_MADE,
    WATER_SPENT,
)
from wrappers.action import factory_number
from wrappers.masks import wall_distance
from wrappers.own_features import factories_of, robots_of


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the terms; a term is its weight times the amount, summed over a row's terms and multiplied by `scale`."""

    scale: float = 0.1
    own: float = 1.0
    """Share of a row's own reward; the rest is the mean over the side's rows: r <- own * r + (1 - own) * mean."""
    shared_by: int = 0
    """Number that the side's total is divided by in place of that of its rows (0), so that a new robot takes nothing from the others."""
    early: float = 0.1
    """How much more the ice terms count at the first turn than at the last."""
    ice_dug: float = 0.0125
    """Robot, a unit of ice dug: 0.1 / 2 / 4."""
    ice_given: float = 0.125
    """Robot, a unit of ice handed to a factory: 1 / 2 / 4."""
    ice_got: float = 0.125
    """Factory, a unit of ice received from robots."""
    ore_dug: float = 0.0
    ore_given: float = 0.0
    ore_got: float = 0.0
    rubble_dug: float = 0.0
    """Robot, a unit of rubble dug within `rubble_distance` of an own factory."""
    rubble_distance: int = 5
    enemy_lichen_dug: float = 0.0
    power_taken: float = 0.0
    robot_lost: float = 0.0
    """Robot, its own end (give a negative weight to punish it)."""
    factory_lost: float = 0.0
    lichen_grown: float = 0.0
    """Factory, change of the lichen of its strain."""
    water_made: float = 0.0
    water_spent: float = 0.0
    metal_made: float = 0.0
    light_built: float = 0.0
    heavy_built: float = 0.0
    alive: float = 0.0
    """Factory, every turn that it lives."""
    result: float = 0.0
    """Every row of a side at the end of the game: 1 for a win, 0 for a draw, -1 for a loss."""
    terms: tuple[str, ...] = ()
    """Functions of your own, as package.module:function or path/to/file.py:function: from a `wrappers.rewards.Turn` to a number
    for each row, added to the reward as it is (neither scaled nor shared)."""

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "own", prefix="reward.")
        check_range(self, 0, None, "rubble_distance", "shared_by", prefix="reward.")

    def rules(self) -> Any:
        """The config as one record (`REWARD_DTYPE`), which is what the compiled code reads."""
        record = np.zeros(1, REWARD_DTYPE).view(np.recarray)[0]
        for name in REWARD_DTYPE.names or ():
            record[name] = getattr(self, name)
        return record


REWARD_DTYPE = np.dtype([(f.name, np.float64) for f in dataclasses.fields(RewardConfig) if f.name != "terms"])
ROBOT_EVENT = {
    "ice_dug": ICE_DUG,
    "ore_dug": ORE_DUG,
    "rubble_dug": RUBBLE_DUG,
    "lichen_dug": LICHEN_DUG,
    "ice_given": ICE_GIVEN,
    "ore_given": ORE_GIVEN,
    "power_taken": POWER_TAKEN,
}
FACTORY_EVENT = {
    "ice_got": ICE_GOT,
    "ore_got": ORE_GOT,
    "water_made": WATER_MADE,
    "metal_made": METAL_MADE,
    "lichen_grown": LICHEN_GROWN,
    "lights_built": LIGHTS_BUILT,
    "heavies_built": HEAVIES_BUILT,
    "water_spent": WATER_SPENT,
}


class Turn(NamedTuple):
    """What a reward term of one's own sees: the games [N] after a turn, and the M rows that acted in it, dead ones included."""

    games: Any  # records of `GAME_DTYPE`
    rules: Any
    side: np.ndarray  # [M] int32
    slot: np.ndarray  # [M] int16

    def event(self, name: str) -> np.ndarray:
        """How much of this each row did in the turn, `[M] float32`: a name of `ROBOT_EVENT` or `FACTORY_EVENT`; 0 for the other kind's."""
        amount = np.zeros(len(self.side), np.float32)
        if name in ROBOT_EVENT:
            rows, game, number = self.robots()
            amount[rows] = self.games["robot_event"][game, number, ROBOT_EVENT[name]]
        else:
            rows, game, number = self.factories()
            amount[rows] = self.games["factory_event"][game, number, FACTORY_EVENT[name]]
        return amount

    def alive(self) -> np.ndarray:
        """Whether each row's entity is alive after the turn, `[M] bool`."""
        alive = np.zeros(len(self.side), bool)
        for kind, (rows, game, number) in (("robot_alive", self.robots()), ("factory_alive", self.factories())):
            alive[rows] = self.games[kind][game, number] != 0
        return alive

    def robots(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of robots, their games, and their numbers in the record's `robot_...` arrays."""
        return robots_of(self.side, self.slot)

    def factories(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of factories, in `factory_...`."""
        return factories_of(self.games, self.side, self.slot)


Term = Callable[[Turn], np.ndarray]


def terms_of(config: RewardConfig) -> list[Term]:
    """The functions that the config names. Raises `ValueError` for what cannot be loaded or called."""
    terms = [load_part(name) for name in config.terms]
    for name, term in zip(config.terms, terms):
        if not callable(term):
            raise ValueError(f"{name} is no function.")
    return terms


@jit
def robot_reward(game, weights, early, r):
    """The reward of robot `r` for the last turn, before scale and sharing; `early` multiplies the ice terms."""
    event = game.robot_event[r]
    reward = early * (weights.ice_dug * event[ICE_DUG] + weights.ice_given * event[ICE_GIVEN])
    reward += weights.ore_dug * event[ORE_DUG] + weights.ore_given * event[ORE_GIVEN] + weights.power_taken * event[POWER_TAKEN]
    player = r // MAX_ROBOTS
    if event[RUBBLE_DUG] > 0 and weights.rubble_dug != 0:
        # a robot that dug has not moved
        cell = int(game.robot_cell[r])
        for f in range(game.factory_count):
            if game.factory_alive[f] and game.factory_owner[f] == player:
                if wall_distance(cell, int(game.factory_cell[f])) <= weights.rubble_distance:
                    reward += weights.rubble_dug * event[RUBBLE_DUG]
                    break
    if event[LICHEN_DUG] > 0:
        reward += weights.enemy_lichen_dug * event[LICHEN_DUG]
    if not game.robot_alive[r]:
        reward += weights.robot_lost
    return reward


@jit
def factory_reward(game, weights, early, f):
    """The reward of factory `f` for the last turn, before scale and sharing."""
    event = game.factory_event[f]
    reward = early * weights.ice_got * event[ICE_GOT]
    reward += weights.ore_got * event[ORE_GOT] + weights.lichen_grown * event[LICHEN_GROWN]
    reward += weights.water_made * event[WATER_MADE] + weights.water_spent * event[WATER_SPENT] + weights.metal_made * event[METAL_MADE]
    reward += weights.light_built * event[LIGHTS_BUILT] + weights.heavy_built * event[HEAVIES_BUILT]
    if game.factory_alive[f]:
        reward += weights.alive
    else:
        reward += weights.factory_lost
    return reward


@jit
def side_result(game, player):
    """1, 0 or -1 by the official rewards of an ended game; 0 while it runs."""
    if not game.done or game.reward[0] == game.reward[1]:
        return 0
    return 1 if game.reward[player] > game.reward[1 - player] else -1


@jit
def write_rewards(games, rules, weights, side, slot, rows, reward):
    """Rewards of the rows that acted in the turn just played, dead ones included.

    Args:
        games: [N], after the turn.
        rules, weights: `GameConfig.rules()` and `RewardConfig.rules()`.
        side [rows], slot [rows]: the rows of the observation that was acted on.
        reward: [rows] float32, written.
    """
    first = 0
    while first < rows:
        b = side[first]
        last = first
        game = games[b // 2]
        player = b % 2
        length = max(int(rules.max_episode_length), 1)
        early = 1 + weights.early * (length - (int(game.real_step) - 1)) / length
        result = weights.result * side_result(game, player)
        total = 0.0
        while last < rows and side[last] == b:
            if slot[last] < MAX_FACTORIES:
                value = factory_reward(game, weights, early, factory_number(game, player, slot[last]))
            else:
                value = robot_reward(game, weights, early, player * MAX_ROBOTS + int(slot[last]) - MAX_FACTORIES)
            value = weights.scale * (value + result)
            reward[last] = value
            total += value
            last += 1
        if weights.own < 1:
            mean = total / (weights.shared_by if weights.shared_by > 0 else last - first)
            for i in range(first, last):
                reward[i] = weights.own * reward[i] + (1 - weights.own) * mean
        first = last
