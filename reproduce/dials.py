"""The dials of the compiled farm, searched by CMA-ES, and what each is worth: `python main.py reproduce dials`.

Scores are paired: the rule with other dials and the rule as it is play the same maps, each from both sides, and each alone beside a side
that does nothing. The search keeps a line a generation and goes on from them. The page is made on maps that the search has not seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cma
import numpy as np

from agent.tasks.dials import Dials, changed
from arena.farm_games import play, shares
from engine.config import GameConfig
from submission.files import write_whole

RANGES = {
    "strikes": (0, 6),
    "trip_power": (300, 2900),
    "ice_a_heavy": (2, 10),
    "supply": (0.05, 1.5),
    "ore_water": (50, 150),
    "ore_diggers": (1, 3.9),
    "metal_enough": (50, 400),
    "last_ore": (50, 500),
    "last_build": (30, 300),
    "heavies": (3, 14),
    "lights": (3, 20),
    "first_lights": (1, 6),
    "heavy_power": (20, 150),
    "light_keep": (0, 1500),
    "rich": (800, 4000),
    "reach": (6, 18),
    "low": (5, 80),
    "room": (0.02, 0.6),
    "reap": (40, 300),
    "heavy_reap": (20, 150),
    "reap_power": (0.3, 1.0),
    "late": (80, 280),
    "rush": (0, 400),
    "carry": (100, 1000),
}
SPREAD = 0.12  # of the first generation, as a share of a range
HELD_OUT = 900  # from this number on, maps are not searched on


@dataclass(frozen=True)
class Search:
    """The options of `main.py reproduce dials`."""

    generations: int = 20
    """Generations of the search; those that are stored are not played again."""
    population: int = 12
    """Sets of dials a generation."""
    games: int = 12
    """Maps for each set of dials, other ones in each generation."""
    growth: float = 0.5
    """What a hundredth more lichen beside an idle side counts, in hundredths of the share against the rule as it is."""
    map_size: int = 48
    held_out_games: int = 32
    """Unseen maps for the page."""
    opponents: tuple[str, ...] = ("reaper",)
    """Built-in opponents for the page, which the search does not meet."""
    seed: int = 1
    runs: Path = Path("runs/reproduce/dials")
    """Folder of the search."""
    out: Path | None = None
    """Folder of dials.md (default: that of the search; `--out docs/results` publishes it)."""
    report_only: bool = False
    """Search no further, only write the page of what is stored."""


def dials(options: Search) -> list[Path]:
    """Search, then write what was found and what each of its changes is worth; returns the files written."""
    found, scores = search(options)
    page = (options.out or options.runs) / "dials.md"
    write_whole(page, "\n".join(report(options, found, scores)) + "\n")
    return [page]


def search(options: Search) -> tuple[Dials, list[float]]:
    """The mean of the last generation, and the mean score of each. Raises `ValueError` if what is stored was searched otherwise."""
    config, base = GameConfig.for_map_size(options.map_size), Dials()
    log = options.runs / "search.jsonl"
    lines = [json.loads(text) for text in log.read_text().splitlines()] if log.exists() else []
    about = {"base": base._asdict(), "games": options.games, "growth": options.growth, "map_size": options.map_size, "seed": options.seed}
    if any(line["about"] != about for line in lines):
        raise ValueError(f"{log} is a search with other settings or from other dials; delete it, or give another folder with --runs.")
    strategy = cma.CMAEvolutionStrategy(
        to_unit(base), SPREAD, {"bounds": [0, 1], "seed": options.seed, "popsize": options.population, "verbose": -9}
    )
    if options.report_only and not lines:
        raise ValueError(f"There is no search in {options.runs}; search first.")
    lines = lines[: options.generations]
    for generation in range(len(lines) if options.report_only else options.generations):
        points = strategy.ask()
        if generation == len(lines):
            before = play(config, options.games, generation, base, None).lichen[:, 0].mean()
            scores = [score(config, from_unit(point), base, before, options, generation) for point in points]
            lines.append({"about": about, "scores": scores})
            write_whole(log, "".join(json.dumps(line) + "\n" for line in lines))
            told_of = f"generation {generation + 1} of {options.generations}"
            print(f"{told_of}: score {np.mean(scores):+.3f}, best {max(scores):+.3f}", flush=True)
        strategy.tell(points, [-value for value in lines[generation]["scores"]])
    return from_unit(strategy.mean), [float(np.mean(line["scores"])) for line in lines]


def score(config: GameConfig, tried: Dials, base: Dials, before: float, options: Search, seed: int) -> float:
    """How much better than the rule as it is: its share of the lichen against it less a half, and what it grows more undisturbed."""
    share = shares(config, options.games, seed, tried, base).mean() - 0.5
    grown = play(config, options.games, seed, tried, None).lichen[:, 0].mean()
    return float(share + options.growth * (grown / before - 1))


def to_unit(values: Dials) -> list[float]:
    """Dials as positions in their ranges, a little inside."""
    return [min(max((getattr(values, name) - low) / (high - low), 0.02), 0.98) for name, (low, high) in RANGES.items()]


def from_unit(point: Any) -> Dials:
    """The inverse."""
    return changed(Dials(), {name: low + (high - low) * min(max(x, 0.0), 1.0) for (name, (low, high)), x in zip(RANGES.items(), point)})


def report(options: Search, found: Dials, scores: list[float]) -> Iterator[str]:
    """The page, line by line: found against the rule as it is, and each change taken back, on maps that were not searched on."""
    config, base, games = GameConfig.for_map_size(options.map_size), Dials(), options.held_out_games
    yield "# The dials of the farm"
    yield ""
    command = f"python main.py reproduce dials --generations {options.generations} --population {options.population}"
    yield f"`{command} --games {options.games} --map-size {options.map_size} --seed {options.seed}`"
    yield ""
    yield f"Mean score of the first generation {scores[0]:+.3f}, of the last {scores[-1]:+.3f}. Below: {games} unseen maps of that size,"
    yield "each from both sides; means with standard errors, paired by map."
    yield ""
    yield f"- Found against the rule as it is: {told(shares(config, games, HELD_OUT, found, base))} of the lichen."
    grown, before = (play(config, games, HELD_OUT, rule, None).lichen[:, 0].astype(float) for rule in (found, base))
    yield f"- Undisturbed: {told(grown, 0)} lichen, the rule as it is {told(before, 0)}; difference {told(grown - before, 0)}."
    for name in options.opponents:
        ours, theirs = (shares(config, games, HELD_OUT, rule, name) for rule in (found, base))
        yield f"- Against `{name}`: {told(ours)} of the lichen, the rule as it is {told(theirs)}; difference {told(ours - theirs)}."
    yield ""
    yield "| dial | as it is | found | share of the lichen of what was found, against itself with this dial as it is |"
    yield "|---|---:|---:|---:|"
    for name in RANGES:
        old, new = getattr(base, name), getattr(found, name)
        if old == new:
            yield f"| {name} | {old:g} | {new:g} | |"
        else:
            yield f"| {name} | {old:g} | {new:g} | {told(shares(config, games, HELD_OUT, found, changed(found, {name: old})))} |"


def told(values: np.ndarray, digits: int = 3) -> str:
    """Mean and standard error."""
    return f"{values.mean():,.{digits}f} ± {values.std(ddof=1) / len(values) ** 0.5:,.{digits}f}"
