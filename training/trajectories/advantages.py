"""Advantages: generalised advantage estimation along each group's own life.

Schulman et al. 2016 (arXiv:1506.02438), with the three ends that a group's trajectory can have kept apart: all of its
entities are gone (terminal, no value follows), the game was cut off (bootstrapped with the value of the state in
which it was cut), and the rollout is over while the game goes on (bootstrapped with the value at step T).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from engine.jit import jit
from training.trajectories.grouping import Grouping, Groups, Rows, make_groups
from training.trajectories.switchboard import Scope, Switchboard, collect, group_rewards


@dataclass(frozen=True)
class Targets:
    """What a rollout teaches, by group row; meaningful where `groups.active`."""

    groups: Groups
    reward: np.ndarray  # [G] float32
    value: np.ndarray  # [G] float32
    advantage: np.ndarray  # [G] float32, not normalised
    returns: np.ndarray  # [G] float32, advantage + value


def targets(
    rows: Rows,
    reward: np.ndarray,
    value: np.ndarray,
    cut_value: np.ndarray,
    new_game: np.ndarray,
    done: np.ndarray,
    truncated: np.ndarray,
    grouping: Grouping,
    switches: Switchboard,
    map_size: int,
    gamma: float,
    lam: float,
) -> Targets:
    """Group a rollout and compute its advantages and returns.

    `reward [R]` of the rows that acted (ignored at step T); `value [R]`, step T included; `cut_value [R]`: in a game that
    was truncated at the end of the row's step, the entity's value in the final observation, 0 where it died;
    `new_game [T + 1, N]`, `done [T, N]`, `truncated [T, N]` bool. A game both done and truncated is done.
    Raises `ValueError` when a game was restarted without an end, or ended without a restart.
    """
    if done.shape != truncated.shape or (done.shape[0] + 1, *done.shape[1:]) != new_game.shape:
        raise ValueError(
            f"done has shape {done.shape}, truncated {truncated.shape} and new_game {new_game.shape}; "
            "expected are [T, N], [T, N] and [T + 1, N]."
        )
    wrong = (done | truncated) != new_game[1:]
    if wrong.any():
        step, game = np.argwhere(wrong)[0]
        what = "was restarted without being done or truncated" if new_game[step + 1, game] else "ended and was not restarted"
        raise ValueError(f"Game {game} {what} at the end of step {step}; a game is restarted exactly when it ends.")
    groups = make_groups(rows, new_game, grouping, map_size, until_game_end=switches.done == "global")
    group_reward = group_rewards(np.where(rows.step < groups.steps, reward, 0.0), groups, switches)
    group_value = collect(value, groups, switches.value)
    bootstrap = cut_values(rows, cut_value, done, truncated, groups, switches.value)
    advantage = gae(group_reward, group_value, groups.next, bootstrap, gamma, lam, groups.acted)
    returns = advantage + group_value
    single = [array.astype(np.float32) for array in (group_reward, group_value, advantage, returns)]
    return Targets(groups, *single)


def cut_values(rows: Rows, cut_value: np.ndarray, done: np.ndarray, truncated: np.ndarray, groups: Groups, scope: Scope) -> np.ndarray:
    """Value `[G]` that follows a group's row where its game was truncated at the end of that step, else 0."""
    cut = np.zeros((groups.steps + 1, groups.games), np.bool_)
    cut[:-1] = truncated & ~done
    return collect(np.where(cut[rows.step, rows.side // 2], cut_value, 0.0), groups, scope)


def gae(
    reward: np.ndarray, value: np.ndarray, following: np.ndarray, bootstrap: np.ndarray, gamma: float, lam: float, acted: int
) -> np.ndarray:
    """Advantages `[G]` float64 of group rows ordered by step.

    `following [G]` int64: the same group's row one step later, or -1 where it ends; then `bootstrap [G]` is the value that
    follows (0: terminal). Rows from `acted` on belong to step T: they have a value to bootstrap from and advantage 0.
    """
    count = len(reward)
    for name, array in (("value", value), ("following", following), ("bootstrap", bootstrap)):
        if array.shape != (count,):
            raise ValueError(f"{name} has shape {array.shape}; reward has {reward.shape}.")
    later = following[:acted]
    if ((later >= 0) & (later <= np.arange(acted))).any() or (later >= count).any():
        raise ValueError("following points to an earlier row or beyond the last; group rows must be ordered by step.")

    def doubles(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array, dtype=np.float64)

    links = np.ascontiguousarray(following, dtype=np.int64)
    return _gae(doubles(reward), doubles(value), doubles(bootstrap), links, float(gamma), float(lam), int(acted))


@jit
def _gae(reward, value, bootstrap, following, gamma, lam, acted):  # pyright: ignore[reportMissingParameterType]
    advantage = np.zeros(len(reward), np.float64)
    for row in range(acted - 1, -1, -1):
        later = following[row]
        if later >= 0:
            delta = reward[row] + gamma * value[later] - value[row]
            advantage[row] = delta + gamma * lam * advantage[later]
        else:
            advantage[row] = reward[row] + gamma * bootstrap[row] - value[row]
    return advantage


def normalize(
    advantage: torch.Tensor,
    active: torch.Tensor | None = None,
    eps: float = 1e-8,
    total: Callable[[torch.Tensor], torch.Tensor] = lambda sums: sums,
) -> torch.Tensor:
    """Advantages `[K]` to mean 0 and standard deviation 1 over the active rows; inactive rows become 0.

    Without `active [K]` bool all rows count: a minibatch holds active rows only. A single row is only centred. `total` adds
    up sums over the ranks, so that the mean and the deviation are those of all ranks' rows.
    """
    chosen = (advantage if active is None else advantage[active]).double()
    count, first, second = total(torch.stack([chosen.new_tensor(chosen.numel()), chosen.sum(), chosen.square().sum()]))
    mean = first / count.clamp(min=1.0)
    deviation = ((second - count * mean.square()).clamp(min=0.0) / (count - 1.0).clamp(min=1.0)).sqrt()
    scaled = ((advantage - mean) / torch.where(count > 1, deviation + eps, 1.0)).to(advantage.dtype)
    return scaled if active is None else torch.where(active, scaled, torch.zeros_like(scaled))
