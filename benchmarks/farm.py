"""The compiled farm: game turns a second, what it grows, and what a change of its dials is worth: `python -m benchmarks.farm --help`.

Maps are those of seeds 3,000,000 and on, which neither training nor evaluations use. Three ways to play, all with the engine in the time:
`self`: both sides by the rule. `growth`: the other side does nothing, and its factories are given water so that the game goes on.
`--dials NAME=VALUE ...`: the rule with these dials against the rule as it is, every map from both sides; differences are paired by map.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import tyro

from agent.lichen_opening import lichen_opening
from agent.tasks.dials import Dials
from agent.tasks.memory import empty_memory, empty_turn
from agent.tasks.play import play_all
from agent.tasks.side import REACH
from engine.config import GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from engine.state import WATER
from wrappers.action import ActionConfig
from wrappers.observation import empty_static, write_static

FIRST_SEED = 3_000_000
NOBODY, BOTH = -1, 2


class Played(NamedTuple):
    """Games as they ended."""

    lichen: np.ndarray
    """[N, 2]"""
    factories: np.ndarray
    """[N, 2] alive at the end."""
    robots: np.ndarray
    """[N, 2, kind] alive at the end."""
    turns_a_second: float


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    games: int = 32
    map_size: int = 48
    seed: int = 0
    """Which maps: held-out ones for what was chosen on others."""
    dials: dict[str, float] = field(default_factory=dict)
    """Of the rule that is compared with the rule as it is."""


def play(config: GameConfig, games: int, seed: int, first: Dials, second: Dials | None, swapped: bool = False) -> Played:
    """Play whole games: `first` is player_0 (player_1 if `swapped`); without a `second` the other side is fed and does nothing."""
    engine = Engine(config, games)
    start = FIRST_SEED + 1000 * seed
    pool = MapPool(config, range(start, start + games))
    static, actions, turn = empty_static(games), ActionConfig.full(rubble_distance=REACH).rules(), empty_turn()
    memories = [empty_memory(games), empty_memory(games)]
    for i in range(games):
        engine.reset(i, pool, i)
        while engine.games[i]["real_step"] < 0:
            for player in range(2):
                lichen_opening(engine.games[i], engine.rules, player, engine.orders[i])
            engine.step(i, i + 1)
        write_static(engine.games[i], engine.rules, static[i])
    seats = np.full(games, int(swapped), np.int8)
    fed = engine.games["factory_owner"] == 1 - seats[:, None]
    turns, began = 0, 0.0
    for t in range(config.max_episode_length):
        play_all(engine.games, engine.rules, actions, first, static, memories[0], turn, seats, engine.orders)
        if second is None:
            engine.games["factory_cargo"][..., WATER][fed] = 1000
        else:
            play_all(engine.games, engine.rules, actions, second, static, memories[1], turn, 1 - seats, engine.orders)
        engine.step()
        if t == 0:
            began = time.perf_counter()  # the first turn may compile
        else:
            turns += int((engine.games["done"] == 0).sum())
    return ended(engine.games, turns / (time.perf_counter() - began))


def ended(games: Any, turns_a_second: float) -> Played:
    """What is left when all games are over."""
    there = (games["factory_alive"] == 1) & (np.arange(games["factory_alive"].shape[1]) < games["factory_count"][:, None])
    factories = np.stack([(there & (games["factory_owner"] == player)).sum(1) for player in range(2)], 1)
    alive, heavy = (games[name].reshape(len(games), 2, -1) for name in ("robot_alive", "robot_heavy"))
    robots = np.stack([(alive & (1 - heavy)).sum(2), (alive & heavy).sum(2)], 2)
    return Played(games["lichen_total"].copy(), factories, robots, turns_a_second)


def with_error(values: np.ndarray, digits: int = 0) -> str:
    """Mean and standard error."""
    return f"{values.mean():,.{digits}f} +- {values.std(ddof=1) / len(values) ** 0.5:,.{digits}f}"


def main(options: Options) -> None:
    """Play and tell."""
    config, dials = GameConfig.for_map_size(options.map_size), Dials()
    if options.dials:
        odd = sorted(set(options.dials) - set(dials._fields))
        if odd:
            raise SystemExit(f"There is no dial {odd[0]}; there are {', '.join(dials._fields)}.")
        other = dials._replace(**{name: type(getattr(dials, name))(value) for name, value in options.dials.items()})
        seatings = [play(config, options.games, options.seed, other, dials, swapped) for swapped in (False, True)]
        mine = np.stack([games.lichen[:, k] for k, games in enumerate(seatings)], 1).astype(float)
        theirs = np.stack([games.lichen[:, 1 - k] for k, games in enumerate(seatings)], 1).astype(float)
        share = (mine / np.maximum(mine + theirs, 1)).mean(1)
        wins = (mine > theirs).mean()
        print(f"lichen {mine.mean():,.0f} : {theirs.mean():,.0f}, wins {wins:.0%}, share of the lichen {with_error(share, 3)}")
        return
    both = play(config, options.games, options.seed, dials, dials)
    lichen = both.lichen.mean(1)
    speed = f"{both.turns_a_second:,.0f} game turns a second"
    print(f"self    {with_error(lichen)} lichen a side, {both.factories.mean():.2f} factories left, {speed}")
    alone = play(config, options.games, options.seed, dials, None)
    robots = alone.robots[:, 0].mean(0)
    print(f"growth  {with_error(alone.lichen[:, 0])} lichen, {robots[1]:.1f} heavies and {robots[0]:.1f} lights at the end")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
