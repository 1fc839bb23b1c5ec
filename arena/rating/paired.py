"""Players against the same opponents on the same maps: how much more one wins than the other, or than half, map by map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from arena.rating.results import Game


class Difference(NamedTuple):
    """What the first player has more than the second, or than half, mean over maps, each played from both sides."""

    against: str
    maps: int
    wins: float
    """Difference of the share of games won, a draw half."""
    wins_error: float
    """Half of its 95 % interval (Student)."""
    lichen: float
    """Difference of the share of both sides' lichen."""
    lichen_error: float


def compare(games: Iterable[Game], first: str, second: str | None, pool: Sequence[str]) -> list[Difference]:
    """A row for each opponent of the `pool` that both met on some maps from both sides, then one over all of these, called `all`.

    Players are identities; without a second one, the first is held against one half.
    """
    met: dict[tuple[str, int, str], list[tuple[float, float]]] = {}
    names: dict[str, str] = {}
    for game in games:
        for side in range(2):
            player, other = game.players[side], game.players[1 - side]
            names[other] = game.names[1 - side]
            if player in (first, second) and other in pool:
                share = game.lichen[side] / max(sum(game.lichen), 1)
                met.setdefault((other, game.seed, player), []).append((game.score(side), share))
    by_map: dict[str, dict[int, np.ndarray]] = {}
    for other, seed, player in met:
        half = [(0.5, 0.5)] * 2
        both = [met.get((other, seed, first), []), half if second is None else met.get((other, seed, second), [])]
        if player == first and all(len(results) == 2 for results in both):
            by_map.setdefault(other, {})[seed] = np.mean(both[0], 0) - np.mean(both[1], 0)
    rows = [_difference(names[other], list(maps.values())) for other, maps in by_map.items()]
    if len(rows) > 1:  # opponents of one map are one sample
        seeds = sorted({seed for maps in by_map.values() for seed in maps})
        rows.append(_difference("all", [np.mean([maps[seed] for maps in by_map.values() if seed in maps], 0) for seed in seeds]))
    return rows


def _difference(against: str, values: list[np.ndarray]) -> Difference:
    count = len(values)
    mean = np.mean(values, 0)
    error = np.std(values, 0, ddof=1) / count**0.5 * stats.t.ppf(0.975, count - 1) if count > 1 else np.full(2, np.inf)
    return Difference(against, count, float(mean[0]), float(error[0]), float(mean[1]), float(error[1]))


def told(rows: list[Difference], first: str, second: str = "one half") -> Iterator[str]:
    """The rows as lines of text."""
    yield f"{first} less {second}, the same maps from both sides (95 % intervals, paired by map):"
    for row in rows:
        wins = f"wins {row.wins:+.1%} ± {row.wins_error:.1%}"
        lichen = f"share of the lichen {row.lichen:+.3f} ± {row.lichen_error:.3f}"
        yield f"  against {row.against}: {wins}, {lichen}, {row.maps} maps"
