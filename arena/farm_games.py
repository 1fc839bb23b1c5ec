"""Whole games of the compiled farm: against itself with other dials, against a built-in opponent, or undisturbed.

All sides open alike (`agent.lichen_opening`), so that what differs is what follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

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


def opened(config: GameConfig, seeds: range) -> tuple[Engine, Any]:
    """Games on the map of each seed, opened by both sides alike, and their static records."""
    engine, static = Engine(config, len(seeds)), empty_static(len(seeds))
    pool = MapPool(config, seeds)
    for i in range(len(seeds)):
        engine.reset(i, pool, i)
        while engine.games[i]["real_step"] < 0:
            for player in range(2):
                lichen_opening(engine.games[i], engine.rules, player, engine.orders[i])
            engine.step(i, i + 1)
        write_static(engine.games[i], engine.rules, static[i])
    return engine, static


def play(config: GameConfig, games: int, seed: int, first: Any, second: Any, swapped: bool = False) -> Played:
    """Play whole games: `first` is player_0 (player_1 if `swapped`). Each is `Dials`, the name of an opponent, or None (`fed`)."""
    start = FIRST_SEED + 1000 * seed
    engine, static = opened(config, range(start, start + games))

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
            began = time.process_time()  # the first turn may compile
        else:
            turns += int((engine.games["done"] == 0).sum())
        died = engine.games["robot_died"].reshape(games, 2, -1)
        heavy = engine.games["robot_heavy"].reshape(games, 2, -1)
        lost += np.stack([(died & (1 - heavy)).sum(2), (died & heavy).sum(2)], 2) * (engine.games["done"] == 0)[:, None, None]
        if t in SHOWN:
            losses = {"lost heavies": lost[..., 1].copy(), "lost lights": lost[..., 0].copy()}
            curves.append({"turn": np.full((games, 2), t), **has(engine.games), **losses})
    return ended(engine.games, turns / (time.process_time() - began), curves)


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


def shares(config: GameConfig, games: int, seed: int, first: Dials, second: Any) -> np.ndarray:
    """The share of both sides' lichen that `first` has, `[games]`: every map from both sides, the mean of the two."""
    seatings = [play(config, games, seed, first, second, swapped).lichen.astype(float) for swapped in (False, True)]
    mine, theirs = (np.stack([lichen[:, k if own else 1 - k] for k, lichen in enumerate(seatings)], 1) for own in (True, False))
    return (mine / np.maximum(mine + theirs, 1)).mean(1)
