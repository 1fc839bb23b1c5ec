"""What of a run's metrics is plotted, and over how many steps and how long.

Training time is wall time between a run's own lines; the time between a stop and its resumption is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

POINTS = 250  # of a curve, each the mean of a stretch
PAUSE = 60.0  # seconds without a line from which a run was stopped, unless it evaluated

Line = dict[str, Any]
Curve = np.ndarray  # [3, k]: steps, seconds, values


class Panel(NamedTuple):
    """One plot: label -> metric. A metric that ends in `*` stands for all that begin so and were there to the last, each labelled by
    its rest: the members of the pool, without those that were dropped."""

    title: str
    metrics: Mapping[str, str]
    log: bool = False


PANELS = (
    Panel("rating (openskill)", {"in training games": "league/rating", "performance against the pool": "eval/rating"}),
    Panel("win rate against the pool", {"evaluation": "eval/pool_win_rate", "": "league/win_rate/*"}),
    Panel("ratings of the pool", {"": "league/rating/*", "policy": "league/rating"}),
    Panel("games finished", {"training": "charts/finished", "evaluation": "eval/finished"}),
    Panel("lichen a player and game", {"training": "charts/lichen", "evaluation": "eval/lichen"}),
    Panel("ice a player and game", {"training": "charts/ice_per_game", "evaluation": "eval/ice_transferred"}),
    Panel("turns a game", {"training": "charts/game_length", "evaluation": "eval/episode_length"}),
    Panel("at the end of a game", {"robots": "charts/robots", "factories": "charts/factories"}),
    Panel("reward of an entity and turn", {"": "charts/reward_per_entity_turn"}),
    Panel("entropy", {"": "losses/entropy"}),
    Panel("approximate KL of an update", {"approx_kl": "losses/approx_kl", "to the teacher": "losses/teacher_kl"}, log=True),
    Panel("clip fraction", {"": "losses/clipfrac"}),
    Panel("explained variance", {"": "losses/explained_variance"}),
    Panel("value loss", {"": "losses/value_loss"}, log=True),
    Panel("policy loss", {"": "losses/policy_loss"}),
    Panel("TD loss", {"": "losses/td_loss"}, log=True),
    Panel("mean Q-value", {"": "losses/q_values"}),
    Panel("random actions", {"epsilon": "charts/epsilon"}),
    Panel("gradient norm before clipping", {"": "losses/grad_norm"}, log=True),
    Panel("learning rate", {"": "charts/learning_rate"}, log=True),
    Panel("share of the lichen against the rule", {"": "eval/share_rule"}),
    Panel("imitation: accuracy", {"": "accuracy/all"}),
    Panel("imitation: loss", {"training": "losses/imitation", "unseen": "losses/imitation_unseen"}),
    Panel("environment steps a second", {"": "charts/SPS"}),
    Panel("entities an environment step", {"": "charts/entities_per_env_step"}),
)


def training_seconds(lines: Sequence[Line]) -> np.ndarray:
    """Seconds of training at each line `[k]`, from 0; pauses between a stop and its resumption left out."""
    if not lines:
        return np.zeros(0)
    gaps = np.diff([line["time"] for line in lines])
    usual = median(gaps) if len(gaps) else 0.0
    evaluated = np.array([any(name.startswith("eval/") for name in line) for line in lines[1:]], bool)
    paused = (gaps > max(PAUSE, 20 * usual)) & ~evaluated
    return np.concatenate([[0.0], np.cumsum(np.where(paused, usual, np.maximum(gaps, 0.0)))])


def curves_of(panel: Panel, lines: Sequence[Line], seconds: np.ndarray) -> dict[str, Curve]:
    """The panel's curves, by label; those without a value are left out."""
    names: dict[str, str] = {}
    for label, metric in panel.metrics.items():
        if metric.endswith("*"):
            latest = next((line for line in reversed(lines) if any(name.startswith(metric[:-1]) for name in line)), {})
            names.update({name[len(metric) - 1 :]: name for name in latest if name.startswith(metric[:-1])})
        else:
            names[label] = metric
    curves = {label: curve_of(name, lines, seconds) for label, name in names.items()}
    return {label: curve for label, curve in curves.items() if curve.size}


def curve_of(metric: str, lines: Sequence[Line], seconds: np.ndarray) -> Curve:
    """One metric where it has a value, at most `POINTS` points, each the mean of as many."""
    found = [(line["step"], time, line[metric]) for time, line in zip(seconds, lines) if line.get(metric) is not None]
    if not found:
        return np.zeros((3, 0))
    points = np.array(found, float).T
    parts = np.array_split(points, min(points.shape[1], POINTS), axis=1)
    return np.stack([part.mean(axis=1) for part in parts], axis=1)


def other_panels(lines: Sequence[Line]) -> list[Panel]:
    """A panel for each metric that none of `PANELS` shows."""
    shown = [metric for panel in PANELS for metric in panel.metrics.values()]
    names = {name for line in lines for name in line} - {"step", "time"}
    return [Panel(name, {"": name}) for name in sorted(names) if not any(matches(name, metric) for metric in shown)]


def matches(name: str, metric: str) -> bool:
    """Whether a panel's metric, which may end in `*`, is or stands for this one."""
    return name.startswith(metric[:-1]) if metric.endswith("*") else name == metric
