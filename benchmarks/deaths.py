"""How factories of the farm die: `python -m benchmarks.deaths`. Every twelfth of a dead factory's last 120 turns is a line, with what its
heavies were about: so it was found what they left undone (docs/results/warden.md).

Maps, openings and opponents are those of `benchmarks.farm`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro

from agent.tasks.dials import Dials
from agent.tasks.memory import empty_memory, empty_turn
from agent.tasks.play import play_all
from arena.farm_games import FIRST_SEED, Orders, farm, opened, scripted
from engine.config import SIZE, GameConfig
from engine.engine import Engine
from engine.state import ICE, WATER

TASKS = ("nothing", "ice", "ore", "clear", "home", "reap", "carry", "hunt")  # in the order of `agent.tasks.memory`
KEPT, EVERY = 120, 12  # turns that are kept of a factory, and of which one is a line


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    games: int = 24
    map_size: int = 48
    seed: int = 0
    against: str = ""
    """A built-in opponent (default: the farm itself)."""


def line_of(game: Any, memory: Any, f: int) -> str:
    """A factory in a turn: what it has, and of each of its heavies task, power, ice and steps to the centre."""
    x, y = divmod(int(game["factory_cell"][f]), SIZE)
    heavies = []
    for r in range(int(game["robot_slots"][0])):
        if game["robot_alive"][r] and game["robot_heavy"][r] and memory["home"][r] == f:
            away = np.abs(np.array(divmod(int(game["robot_cell"][r]), SIZE)) - (x, y)).sum()
            heavies.append(f"{TASKS[memory['task'][r]]} ({game['robot_power'][r]} power, {game['robot_cargo'][r, ICE]} ice, {away} steps)")
    stock = f"{game['factory_cargo'][f, WATER]} water, {game['factory_power'][f]} power, {game['factory_grow'][f]} tiles to water"
    return f"{game['real_step']:4d}: {stock}; {', '.join(heavies) or 'no heavy'}"


def deaths(engine: Engine, static: Any, other: Orders, turns: int) -> Iterator[tuple[int, int, list[str]]]:
    """Play player 0 by the rule; yields (game, factory, lines of its last turns) of each of its factories that dies."""
    games = engine.games
    memory, turn = empty_memory(len(games)), empty_turn()
    seats = np.zeros(len(games), np.int8)
    kept: dict[tuple[int, int], deque[str]] = defaultdict(lambda: deque(maxlen=KEPT))
    own = (games["factory_owner"] == 0) & (np.arange(games["factory_owner"].shape[1]) < games["factory_count"][:, None])
    for _ in range(turns):
        alive = own & (games["factory_alive"] == 1) & (games["done"] == 0)[:, None]
        for i, f in np.argwhere(alive).tolist():
            kept[i, f].append(line_of(games[i], memory[i], f))
        play_all(games, engine.rules, Dials(), static, memory, turn, seats, engine.orders)
        other(engine, 1 - seats)
        engine.step()
        for i, f in np.argwhere(alive & (games["factory_alive"] == 0)).tolist():
            yield i, f, list(kept[i, f])


def main(options: Options) -> None:
    """Play and tell."""
    config = GameConfig.for_map_size(options.map_size)
    start = FIRST_SEED + 1000 * options.seed
    engine, static = opened(config, range(start, start + options.games))
    rule = farm(options.games, config, static, Dials())
    other = scripted(options.games, config, options.against) if options.against else rule
    count = 0
    for i, f, lines in deaths(engine, static, other, config.max_episode_length):
        count += 1
        print(f"game {i}, factory {f}, {len(lines)} turns before its end:", *lines[::EVERY], lines[-1], sep="\n  ", flush=True)
    print(f"{count} factories died in {options.games} games.")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
