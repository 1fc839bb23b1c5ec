"""The switchboard: what a trajectory of one group takes from the group, and what from its whole team.

For a group g of side b at step t, with X one of reward, value, log-prob and entropy (a number for every entity):
- `"group"`: X_g is the sum over the group's entities;
- `"global"`: X_g is the sum over all entities of the side, the same number for each of its groups.
A global log-prob therefore makes one probability ratio for the team, clipped once and weighed by each group's advantage.

Done: `"group"` ends a trajectory when all entities of the group are gone. `"global"` lets it go on, with nothing of
its own (no reward, value 0), until the game ends: whatever is global still flows in. These empty steps enter
neither the loss nor normalisation: there is no action to learn from.

Own reward weight w: `r_g <- w r_g + (1 - w) * mean of r over the side's groups that have entities`.

The published ablation of trajectory separation is the table of presets at the end; all of it runs through one code path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from engine.config import check_choice, check_range
from training.trajectories.grouping import Grouping, Groups, Part, sum_by_group

Scope = Literal["group", "global"]


@dataclass(frozen=True)
class Switchboard:
    """Whether each ingredient of the loss is taken per group or over the whole side."""

    reward: Scope = "group"
    value: Scope = "group"
    log_prob: Scope = "group"
    entropy: Scope = "group"
    done: Scope = "group"
    own_reward_weight: float = 1.0
    """Share of a group's own reward; the rest is the mean over the side's groups."""

    def __post_init__(self) -> None:
        check_choice(self, get_args(Scope), "reward", "value", "log_prob", "entropy", "done", prefix="switches.")
        check_range(self, 0, 1, "own_reward_weight", prefix="switches.")


def collect(values: np.ndarray, groups: Groups, scope: Scope) -> np.ndarray:
    """Sum a rollout's row values `[R]` to the group rows `[G]` float64, over the group or over its side."""
    if values.shape != groups.group_of_row.shape:
        raise ValueError(f"Row values have shape {values.shape}; the grouping has {groups.group_of_row.shape}.")
    if scope == "global":
        return np.bincount(groups.team_of_row, values, groups.teams)[groups.team]
    if groups.one_row_each:
        return values.astype(np.float64)
    return np.bincount(groups.group_of_row, values, len(groups))


def collect_part(values: torch.Tensor, part: Part, scope: Scope) -> torch.Tensor:
    """Sum a minibatch's row values `[r]` to its active groups `[k]`, over the group or over its side; differentiable."""
    if values.shape != part.rows.shape:
        raise ValueError(f"Row values have shape {tuple(values.shape)}; the minibatch has {tuple(part.rows.shape)}.")
    if scope == "global":
        return sum_by_group(values, part.team_of_row, part.teams)[part.team]
    if part.one_row_each:
        return values
    return sum_by_group(values, part.group_of_row, len(part.groups))


def group_rewards(reward: np.ndarray, groups: Groups, switches: Switchboard) -> np.ndarray:
    """Rewards of the group rows `[G]` float64 from those of the rows `[R]` (0 at step T)."""
    own = collect(reward, groups, switches.reward)
    weight = switches.own_reward_weight
    if weight == 1.0:
        return own
    filled = groups.size > 0
    team = groups.team
    total = np.bincount(team[filled], own[filled], groups.teams)
    number = np.bincount(team[filled], minlength=groups.teams)
    return weight * own + (1.0 - weight) * (total / np.maximum(number, 1))[team]


_SEPARATE, _SWITCHES = Grouping(), Switchboard()

# Every row of the published table that concerns trajectories. Where the paper does not say how factories are grouped
# while robots are (id_mod, quadrant, nearest), they stay separate here.
PUBLISHED_ROWS: dict[str, tuple[Grouping, Switchboard]] = {
    "separate": (_SEPARATE, _SWITCHES),
    "global_factories": (Grouping(factories="all"), _SWITCHES),
    "global_robots": (Grouping(robots="all"), _SWITCHES),
    "factory_group_robot_group": (Grouping(robots="all", factories="kind"), _SWITCHES),
    "single_global": (Grouping(robots="all", factories="all"), _SWITCHES),
    "robots_mod_2": (Grouping(robots="id_mod", modulo=2), _SWITCHES),
    "robots_mod_4": (Grouping(robots="id_mod", modulo=4), _SWITCHES),
    "robots_mod_8": (Grouping(robots="id_mod", modulo=8), _SWITCHES),
    "robots_mod_16": (Grouping(robots="id_mod", modulo=16), _SWITCHES),
    "robots_quadrant": (Grouping(robots="quadrant"), _SWITCHES),
    "robots_nearest_factory": (Grouping(robots="nearest_factory"), _SWITCHES),
    "robots_nearest_heavy": (Grouping(robots="nearest_heavy"), _SWITCHES),
    "own_reward_75": (_SEPARATE, Switchboard(own_reward_weight=0.75)),
    "own_reward_50": (_SEPARATE, Switchboard(own_reward_weight=0.5)),
    "own_reward_0": (_SEPARATE, Switchboard(own_reward_weight=0.0)),
    "global_value": (_SEPARATE, Switchboard(value="global")),
    "global_reward_and_value": (_SEPARATE, Switchboard(reward="global", value="global")),
    "global_log_prob": (_SEPARATE, Switchboard(log_prob="global")),
    "global_done": (_SEPARATE, Switchboard(done="global")),
    "global_entropy": (_SEPARATE, Switchboard(entropy="global")),
}
