"""Speed of the compiled engine beside the official one, on the same games, orders and machine.

Three loads on 64 x 64 maps, from an early game to two hundred robots a side. Each is a prepared state and a recorded
stream of orders; both engines play it again and again from a snapshot, taking turns, and the medians are compared.
The comparison is in processor time of one thread: by the wall clock, a busy machine interrupts the long runs of the
official engine more than our short ones. The scaling over threads is by the wall clock.
`python -m benchmarks.engine` prints a table.
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.config import GameConfig
from engine.engine import Engine
from engine.jit import jit
from engine.official import PLAYERS, compare, load_official, make_official, step_orders
from engine.state import DIG, MOVE, empty_orders

GAMES = 16  # games of our batch on one core
THREADED_GAMES = 64  # ... and where threads share them
TURNS = 20  # turns of a recorded stream
ROUNDS = 3  # at least so often every contestant plays the stream
STEPS = np.array([[0, 0], [0, -1], [1, 0], [0, 1], [-1, 0]])


@dataclass(frozen=True)
class Load:
    """What is on the map: robots a side, the share of heavies, lichen tiles in all, and how often a factory waters."""

    robots: int
    heavy: float
    lichen: int
    watering: float


LOADS = {
    "early game, 7 heavies a side": Load(7, 1.0, 0, 0.0),
    "50 robots a side, 650 lichen tiles": Load(50, 0.3, 650, 0.5),
    "200 robots a side, 1000 lichen tiles": Load(200, 0.3, 1000, 0.5),
}


# ------------------------------------------------------------------------------------------------------------ the stream


def start(load: Load, seed: int) -> Any:
    """An official environment after the opening, with the load's robots and lichen, and enough water and power to go on."""
    from luxai_s2.unit import UnitType

    rng = np.random.default_rng(seed)
    env = make_official(GameConfig.for_map_size(64), seed)
    env.step({agent: {"faction": "AlphaStrike", "bid": 0} for agent in PLAYERS})
    while env.state.real_env_steps < 0:
        spots = np.argwhere(env.state.board.valid_spawns_mask)
        env.step({agent: {"spawn": rng.choice(spots), "water": 100, "metal": 100} for agent in PLAYERS})
    board = env.state.board
    factories = [f for agent in PLAYERS for f in env.state.factories[agent].values()]
    for factory in factories:
        factory.cargo.water = factory.cargo.metal = factory.power = 20_000
    paint_lichen(board, factories, load.lichen)
    free = np.argwhere((board.factory_occupancy_map == -1) & (board.lichen == 0))
    for k, cell in enumerate(rng.permutation(free)[: 2 * load.robots]):
        kind = UnitType.HEAVY if rng.random() < load.heavy else UnitType.LIGHT
        unit = env.add_unit(env.state.teams[PLAYERS[k % 2]], kind, cell)
        unit.power = unit.unit_cfg.BATTERY_CAPACITY
    return env


def paint_lichen(board: Any, factories: list[Any], tiles: int) -> None:
    """Lichen on the `tiles` cells nearest to factories, each of its nearest one's strain, with a gap between strains."""
    centres = np.array([f.pos.pos for f in factories])
    x, y = np.indices(board.rubble.shape)
    distance = np.abs(x[..., None] - centres[:, 0]) + np.abs(y[..., None] - centres[:, 1])  # [W, W, factories]
    ranked = np.sort(distance, 2)
    fits = (ranked[..., 1] - ranked[..., 0] >= 3) & (board.factory_occupancy_map == -1) & (board.ice == 0) & (board.ore == 0)
    cells = np.argwhere(fits)
    cells = cells[np.argsort(ranked[..., 0][fits], kind="stable")][:tiles]
    numbers = np.array([f.num_id for f in factories])
    for cx, cy in cells:
        board.rubble[cx, cy] = 0
        board.lichen[cx, cy] = 60
        board.lichen_strains[cx, cy] = numbers[distance[cx, cy].argmin()]


def player(env: Any, load: Load, rng: np.random.Generator) -> dict[str, Any]:
    """Actions of both sides: idle robots walk a step onto a free cell or dig for a while, factories water now and then."""
    size = env.env_cfg.map_size
    claimed = {(int(u.pos.x), int(u.pos.y)) for agent in PLAYERS for u in env.state.units[agent].values()}
    actions: dict[str, Any] = {agent: {} for agent in PLAYERS}
    for agent in PLAYERS:
        for unit in env.state.units[agent].values():
            if unit.action_queue and rng.random() < 0.8:
                continue
            direction = int(rng.integers(1, 5))
            cell = unit.pos.pos + STEPS[direction]
            place = (int(cell[0]), int(cell[1]))
            walks = min(place) >= 0 and max(place) < size and place not in claimed and env.state.board.factory_occupancy_map[place] == -1
            if walks and rng.random() < 0.6:
                claimed.add(place)
                actions[agent][unit.unit_id] = np.array([[MOVE, direction, 0, 0, 0, 1], [DIG, 0, 0, 0, 0, 4]])
            else:
                actions[agent][unit.unit_id] = np.array([[DIG, 0, 0, 0, 0, 6]])
        for factory in env.state.factories[agent].values():
            if rng.random() < load.watering:
                actions[agent][factory.unit_id] = 2
    return actions


# ----------------------------------------------------------------------------------------------------------- contestants


@jit
def write_orders(orders, robots, lengths, queues, factories, choices):
    """Write one turn's sparse orders into all games: robots [R], their queues [R, L, 6] and lengths; factories [F] and choices."""
    for i in range(len(orders)):
        order = orders[i]
        for k in range(len(robots)):
            order.queue_len[robots[k]] = lengths[k]
            for j in range(lengths[k]):
                for e in range(6):
                    order.queue[robots[k], j, e] = queues[k, j, e]
        for k in range(len(factories)):
            order.factory[factories[k]] = choices[k]


def sparse(orders: Any) -> tuple[np.ndarray, ...]:
    """One orders record as the arguments of `write_orders`."""
    robots = np.flatnonzero(orders["queue_len"] >= 0)
    lengths = orders["queue_len"][robots]
    factories = np.flatnonzero(orders["factory"] >= 0)
    longest = int(lengths.max(initial=1))
    return robots, lengths, orders["queue"][robots, :longest].copy(), factories, orders["factory"][factories]


class Recording:
    """A load's first state and `TURNS` turns of actions, as the official engine and as ours takes them."""

    def __init__(self, load: Load, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.env = start(load, seed)
        self.first = copy.deepcopy(self.env.state)
        self.engine = Engine(GameConfig.for_map_size(64), 1)
        load_official(self.engine.games, 0, self.env)
        self.game = self.engine.games.copy()
        self.actions: list[dict[str, Any]] = []
        self.orders: list[tuple[np.ndarray, ...]] = []
        for _ in range(TURNS):
            actions = player(self.env, load, rng)
            orders = empty_orders(1)[0]
            step_orders(actions, self.engine.games[0], self.engine.rules, orders)
            self.engine.orders[0] = orders
            self.actions.append(actions)
            self.orders.append(sparse(orders))
            self.env.step(actions)
            self.engine.step()
        differences = compare(self.engine.games[0], self.env)
        if differences:
            raise RuntimeError("The engines disagree on the benchmark's games: " + "; ".join(differences))
        self.robots = int(self.engine.games["robot_alive"].sum())
        self.lichen = int((self.engine.games["lichen"] > 0).sum())

    def time_official(self, validate: bool) -> float:
        """Turns a second of the official engine, with or without its check of the action space."""
        self.env.set_state(copy.deepcopy(self.first))
        self.env.env_cfg.validate_action_space = validate
        self.env.agents = list(PLAYERS)
        began = time.thread_time()
        for actions in self.actions:
            self.env.step(actions)
        return TURNS / (time.thread_time() - began)

    def time_engine(self, engine: Engine, clock: Callable[[], float]) -> float:
        """Turns a second of ours, over all games of the batch, the writing of the orders included."""
        engine.games[:] = self.game[0]
        began = clock()
        for orders in self.orders:
            write_orders(engine.orders, *orders)
            engine.step()
        return engine.num_games * TURNS / (clock() - began)


# ---------------------------------------------------------------------------------------------------------- measurement


def bench_engine(seconds: float = 10.0, threads: int | None = None) -> dict[str, dict[str, Any]]:
    """Play every load on both engines for about `seconds` each, in turns, and take the medians.

    Args:
        seconds: time for each of the three loads; each contestant plays at least `ROUNDS` times.
        threads: the most threads to try; all of the machine's by default.

    Returns by load: `official_steps_per_s` (default settings, which validate the action space),
    `official_unvalidated_steps_per_s` (`validate_action_space=False`), `engine_steps_per_s` (one core),
    `ratio` and `ratio_unvalidated` of ours to each, `threads` (number of threads to steps/s, on a larger batch), `robots` and
    `lichen` at the end of the stream.
    Raises `RuntimeError` if the engines do not end in the same state.
    """
    most = threads or os.cpu_count() or 1
    config = GameConfig.for_map_size(64)
    engines = {n: Engine(config, THREADED_GAMES, n) for n in sorted({1, min(2, most), most})}
    return {name: measure(Recording(load, seed), engines, seconds) for seed, (name, load) in enumerate(LOADS.items(), 1)}


def measure(recording: Recording, engines: dict[int, Engine], seconds: float) -> dict[str, Any]:
    """One load: all contestants in turns until the time is up."""
    single = Engine(engines[1].config, GAMES)
    recording.time_engine(single, time.thread_time)  # compile and warm up
    contestants: dict[Any, Callable[[], float]] = {
        "official": lambda: recording.time_official(True),
        "unvalidated": lambda: recording.time_official(False),
        "engine": lambda: statistics.median(recording.time_engine(single, time.thread_time) for _ in range(5)),
    }
    for n, engine in engines.items():
        contestants[n] = lambda engine=engine: statistics.median(recording.time_engine(engine, time.perf_counter) for _ in range(5))
    speeds: dict[Any, list[float]] = {name: [] for name in contestants}
    began = time.perf_counter()
    while len(speeds["official"]) < ROUNDS or time.perf_counter() - began < seconds:
        for name, play in contestants.items():
            speeds[name].append(play())
    median = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "official_steps_per_s": median["official"],
        "official_unvalidated_steps_per_s": median["unvalidated"],
        "engine_steps_per_s": median["engine"],
        "ratio": median["engine"] / median["official"],
        "ratio_unvalidated": median["engine"] / median["unvalidated"],
        "threads": {n: median[n] for n in engines},
        "robots": recording.robots,
        "lichen": recording.lichen,
    }


def main(seconds: float = 10.0, threads: int | None = None) -> dict[str, dict[str, Any]]:
    """Measure, print, and return what `bench_engine` returns."""
    results = bench_engine(seconds, threads)
    print(f"Turns a second on 64 x 64, {GAMES} games in a batch, {THREADED_GAMES} where threads share it;")
    print("medians of rounds in which all played in turn.")
    print(f"{'load':40s} {'official':>9s} {'unvalidated':>11s} {'engine, 1 core':>14s} {'ratio':>7s} {'unval.':>7s}  engine by threads")
    for name, row in results.items():
        scaling = ", ".join(f"{n}: {speed:,.0f}" for n, speed in row["threads"].items())
        print(
            f"{name:40s} {row['official_steps_per_s']:9,.0f} {row['official_unvalidated_steps_per_s']:11,.0f} "
            f"{row['engine_steps_per_s']:14,.0f} {row['ratio']:6,.0f}x {row['ratio_unvalidated']:6,.0f}x  {scaling}"
        )
    return results


if __name__ == "__main__":
    main()
