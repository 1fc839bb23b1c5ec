"""The compiled farm: game turns a second, what it grows, and what a change of its dials is worth: `python -m benchmarks.farm --help`.

Maps are those of seeds 3,000,000 and on, which neither training nor evaluations use. Ways to play, all with the engine in the time:
by itself: both sides by the rule (`self`), then alone: the other side does nothing, and is given water so that the game goes on (`growth`).
`--dials NAME VALUE ...`: the rule with these dials against the rule as it is, every map from both sides; differences are paired by map.
`--against NAME`: a built-in opponent that opens as the rule does, every map from both sides. `--curves` tells what both had, turn by turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tyro

from agent.tasks.dials import Dials, changed
from arena.farm_games import play
from engine.config import GameConfig


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    games: int = 32
    map_size: int = 48
    seed: int = 0
    """Which maps: held-out ones for what was chosen on others."""
    dials: dict[str, float] = field(default_factory=dict)
    """Of the rule that is compared with the rule as it is, or (`--against`) that plays."""
    against: str = ""
    """A built-in opponent, or `nobody`: the other side does nothing, and is given water."""
    curves: bool = False
    """Tell what both sides had at some turns, means over the games."""


def tell_curves(curves: list[dict[str, np.ndarray]], first: int) -> None:
    """A line a turn: what player `first` has, and the other."""
    names = [name for name in curves[0] if name != "turn"]
    print("turn  " + "  ".join(names))
    for row in curves:
        print(f"{row['turn'][0, 0]:4d}  " + "  ".join(f"{row[n][:, first].mean():,.1f}:{row[n][:, 1 - first].mean():,.1f}" for n in names))


def with_error(values: np.ndarray, digits: int = 0) -> str:
    """Mean and standard error."""
    return f"{values.mean():,.{digits}f} +- {values.std(ddof=1) / len(values) ** 0.5:,.{digits}f}"


def main(options: Options) -> None:
    """Play and tell."""
    config, dials = GameConfig.for_map_size(options.map_size), Dials()
    try:
        other_dials = changed(dials, options.dials)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if options.dials or options.against:
        other: Any = None if options.against == "nobody" else options.against or dials
        seatings = [play(config, options.games, options.seed, other_dials, other, swapped) for swapped in (False, True)]
        mine = np.stack([games.lichen[:, k] for k, games in enumerate(seatings)], 1).astype(float)
        theirs = np.stack([games.lichen[:, 1 - k] for k, games in enumerate(seatings)], 1).astype(float)
        share = (mine / np.maximum(mine + theirs, 1)).mean(1)
        wins = (mine > theirs).mean()
        print(f"lichen {with_error(mine.mean(1))} : {theirs.mean():,.0f}, wins {wins:.0%}, share of the lichen {with_error(share, 3)}")
        if options.curves:
            tell_curves(seatings[0].curves, 0)
        return
    both = play(config, options.games, options.seed, dials, dials)
    lichen = both.lichen.mean(1)
    speed = f"{both.turns_a_second:,.0f} game turns a second of processor time"
    print(f"self    {with_error(lichen)} lichen a side, {both.factories.mean():.2f} factories left, {speed}")
    alone = play(config, options.games, options.seed, dials, None)
    robots = alone.robots[:, 0].mean(0)
    print(f"growth  {with_error(alone.lichen[:, 0])} lichen, {robots[1]:.1f} heavies and {robots[0]:.1f} lights at the end")
    if options.curves:
        tell_curves(both.curves, 0)
        tell_curves(alone.curves, 0)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
