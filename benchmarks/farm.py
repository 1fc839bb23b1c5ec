"""The compiled farm: game turns a second, what it grows, and what a change of its dials is worth: `python -m benchmarks.farm --help`.

Maps are those of seeds 3,000,000 and on, which neither training nor evaluations use. Ways to play, all with the engine in the time:
by itself: both sides by the rule (`self`), then alone: the other side does nothing, and is given water so that the game goes on (`growth`).
`--dials NAME VALUE ...`: the rule with these dials against the rule as it is, every map from both sides; differences are paired by map.
`--against NAME`: a built-in opponent that opens as the rule does, every map from both sides. `--curves` tells what both had, turn by turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import tyro

from agent.lichen_opening import lichen_opening
from agent.tasks.dials import Dials
from agent.tasks.memory import empty_memory, empty_turn
from agent.tasks.play import play_all
from arena.evaluate import built_in
from engine.config import GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from engine.state import HEAVIES_BUILT, ICE_DUG, LICHEN_DUG, LIGHTS_BUILT, METAL, ORE, ORE_DUG, WATER
from wrappers.observation import empty_static, write_static

FIRST_SEED = 3_000_000
SHOWN = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 850, 900, 950, 980, 999)  # turns of the curves

Orders = Callable[[Engine, np.ndarray], None]
"""Writes the orders of one side of every game: `sides [N]` says which, -1 none."""


class Played(NamedTuple):
    """Games as they ended."""

    lichen: np.ndarray
    """[N, 2]"""
    factories: np.ndarray
    """[N, 2] alive at the end."""
    robots: np.ndarray
    """[N, 2, kind] alive at the end."""
    turns_a_second: float
    curves: list[dict[str, np.ndarray]]
    """What each side had in the turns of `SHOWN`, `[N, 2]` each."""


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


def farm(games: int, config: GameConfig, static: Any, dials: Dials) -> Orders:
    """The rule."""
    memory, turn = empty_memory(games), empty_turn()
    return lambda engine, sides: play_all(engine.games, engine.rules, dials, static, memory, turn, sides, engine.orders)


def scripted(games: int, config: GameConfig, name: str) -> Orders:
    """A built-in opponent."""
    players = [built_in(name).side(config) for _ in range(games)]

    def write(engine: Engine, sides: np.ndarray) -> None:
        for i, player in enumerate(players):
            if not engine.games[i]["done"]:
                player.write_orders(engine.games[i], engine.rules, int(sides[i]), engine.orders[i])

    return write


def fed(games: int, config: GameConfig) -> Orders:
    """Does nothing, and its factories are given water."""

    def write(engine: Engine, sides: np.ndarray) -> None:
        engine.games["factory_cargo"][..., WATER][engine.games["factory_owner"] == sides[:, None]] = 1000

    return write


def play(config: GameConfig, games: int, seed: int, first: Any, second: Any, swapped: bool = False) -> Played:
    """Play whole games: `first` is player_0 (player_1 if `swapped`). Each is `Dials`, the name of an opponent, or None (`fed`)."""
    engine = Engine(config, games)
    start = FIRST_SEED + 1000 * seed
    pool = MapPool(config, range(start, start + games))
    static = empty_static(games)
    for i in range(games):
        engine.reset(i, pool, i)
        while engine.games[i]["real_step"] < 0:
            for player in range(2):
                lichen_opening(engine.games[i], engine.rules, player, engine.orders[i])
            engine.step(i, i + 1)
        write_static(engine.games[i], engine.rules, static[i])

    def player_of(what: Any) -> Orders:
        if isinstance(what, Dials):
            return farm(games, config, static, what)
        return fed(games, config) if what is None else scripted(games, config, what)

    players = player_of(first), player_of(second)
    seats = np.full(games, int(swapped), np.int8)
    turns, began, curves, lost = 0, 0.0, [], np.zeros((games, 2, 2))
    for t in range(1, config.max_episode_length + 1):
        for player, sides in zip(players, (seats, 1 - seats)):
            player(engine, sides)
        engine.step()
        if t == 1:
            began = time.perf_counter()  # the first turn may compile
        else:
            turns += int((engine.games["done"] == 0).sum())
        died = engine.games["robot_died"].reshape(games, 2, -1)
        heavy = engine.games["robot_heavy"].reshape(games, 2, -1)
        lost += np.stack([(died & (1 - heavy)).sum(2), (died & heavy).sum(2)], 2) * (engine.games["done"] == 0)[:, None, None]
        if t in SHOWN:
            losses = {"lost heavies": lost[..., 1].copy(), "lost lights": lost[..., 0].copy()}
            curves.append({"turn": np.full((games, 2), t), **has(engine.games), **losses})
    return ended(engine.games, turns / (time.perf_counter() - began), curves)


def has(games: Any) -> dict[str, np.ndarray]:
    """What each side has, `[N, 2]` each."""
    there = (games["factory_alive"] == 1) & (np.arange(games["factory_alive"].shape[1]) < games["factory_count"][:, None])
    own = np.stack([there & (games["factory_owner"] == player) for player in range(2)], 1)
    alive, heavy = (games[name].reshape(len(games), 2, -1).astype(bool) for name in ("robot_alive", "robot_heavy"))
    stock = {name: (own * games["factory_cargo"][:, None, :, k]).sum(2) for name, k in (("water", WATER), ("metal", METAL), ("ore", ORE))}
    totals = {name: games["robot_total"][..., k] for name, k in (("ice dug", ICE_DUG), ("ore dug", ORE_DUG), ("lichen dug", LICHEN_DUG))}
    return {
        "factories": own.sum(2),
        "heavies": (alive & heavy).sum(2),
        "lights": (alive & ~heavy).sum(2),
        "lichen": games["lichen_total"].copy(),
        "tiles": (own * games["factory_connected"][:, None]).sum(2),
        "power": (own * games["factory_power"][:, None]).sum(2),
        **stock,
        **{name: values.copy() for name, values in totals.items()},
        "heavies built": games["factory_total"][..., HEAVIES_BUILT].copy(),
        "lights built": games["factory_total"][..., LIGHTS_BUILT].copy(),
    }


def ended(games: Any, turns_a_second: float, curves: list[dict[str, np.ndarray]]) -> Played:
    """What is left when all games are over."""
    end = has(games)
    return Played(end["lichen"], end["factories"], np.stack([end["lights"], end["heavies"]], 2), turns_a_second, curves)


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
    odd = sorted(set(options.dials) - set(dials._fields))
    if odd:
        raise SystemExit(f"There is no dial {odd[0]}; there are {', '.join(dials._fields)}.")
    changed = dials._replace(**{name: type(getattr(dials, name))(value) for name, value in options.dials.items()})
    if options.dials or options.against:
        other: Any = None if options.against == "nobody" else options.against or dials
        seatings = [play(config, options.games, options.seed, changed, other, swapped) for swapped in (False, True)]
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
    speed = f"{both.turns_a_second:,.0f} game turns a second"
    print(f"self    {with_error(lichen)} lichen a side, {both.factories.mean():.2f} factories left, {speed}")
    alone = play(config, options.games, options.seed, dials, None)
    robots = alone.robots[:, 0].mean(0)
    print(f"growth  {with_error(alone.lichen[:, 0])} lichen, {robots[1]:.1f} heavies and {robots[0]:.1f} lights at the end")
    if options.curves:
        tell_curves(both.curves, 0)
        tell_curves(alone.curves, 0)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
