"""How long a packaged agent takes a turn when it has 200 robots, as the judge would see it.

The agent runs as a process of the judge's protocol on the official engine, 64x64. Its factories are given metal and
power without end and the benchmark builds and scatters robots in its place until it has 200; from then on its answers
are timed (and not played, so that the number stays).
"""

from __future__ import annotations

import math
import statistics
import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from arena.match import PLAYERS, Match, Referee, env_settings
from arena.players import open_player
from arena.process import Failure, exchange

ROBOTS = 200
LIMITS = {"median_s": 0.5, "first_turn_s": 10.0, "memory_mib": 1024.0}  # what the project promises


def main(seconds: float, player: str = "shipped") -> dict[str, Any]:
    """Measure for about `seconds`, print a table, and return the numbers."""
    numbers = bench_act(seconds, player)
    for name, value in numbers.items():
        limit = f"   (limit {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:>14}  {value if isinstance(value, str) else format(value, '.4g')}{limit}")
    return numbers


def bench_act(seconds: float, player: str = "shipped", robots: int = ROBOTS) -> dict[str, Any]:
    """Time the turns of a packaged agent with `robots` robots."""
    with ExitStack() as stack:
        opened = stack.enter_context(open_player(player))
        referee = Referee(0, env_settings(64))
        match = Match(referee, [opened.name, "idle"])
        match.start(stack, [opened, stack.enter_context(open_player("idle"))], None, 60.0, 600.0)
        while referee.env.state.real_env_steps < 0 and not match.over:
            match.play_turn()
        if match.over:
            raise RuntimeError(f"The opening failed: {match.failures}.")
        bot = match.bots[PLAYERS[0]]
        generator = np.random.default_rng(0)
        times: list[float] = []
        deadline = time.perf_counter() + 600.0
        while time.perf_counter() < deadline:
            count = len(referee.env.state.units[PLAYERS[0]])
            answer = exchange([bot], [match.message(PLAYERS[0])])[0]
            if isinstance(answer, Failure):
                raise RuntimeError(f"The agent {answer}.")
            if count >= robots:
                times.append(bot.answer_time[-1])
                if len(times) == 1:
                    deadline = time.perf_counter() + max(seconds, 1.0)
            referee.play({PLAYERS[0]: _scatter(referee.env, robots, generator), PLAYERS[1]: {}})
            if referee.done:
                break
        bot.close()
        times.sort()
        return {
            "agent": opened.name,
            "robots": len(referee.env.state.units[PLAYERS[0]]),
            "turns": len(times),
            "median_s": statistics.median(times),
            "p99_s": times[math.ceil(0.99 * len(times)) - 1],
            "max_s": times[-1],
            "first_turn_s": bot.answer_time[0],
            "memory_mib": bot.peak_memory,
        }


def _scatter(env: Any, robots: int, generator: np.random.Generator) -> dict[str, Any]:
    """Build a light robot wherever that is possible and let all others walk, at most into free cells."""
    state = env.state
    player = PLAYERS[0]
    for side in PLAYERS:
        for factory in state.factories[side].values():
            factory.cargo.water = factory.cargo.metal = 10_000
            factory.power = 100_000
    action: dict[str, Any] = {}
    if len(state.units[player]) < robots:
        action.update(dict.fromkeys(state.factories[player], 0))
    taken = {tuple(unit.pos.pos) for unit in state.units[player].values()}
    size = env.env_cfg.map_size
    for name, unit in state.units[player].items():
        unit.power = unit.battery_capacity
        for direction in generator.permutation(4) + 1:
            x, y = unit.pos.pos + np.array([[0, 0], [0, -1], [1, 0], [0, 1], [-1, 0]])[direction]
            owner = state.board.factory_occupancy_map[x, y] if 0 <= x < size and 0 <= y < size else 10**6
            blocked = owner == 10**6 or (owner >= 0 and f"factory_{owner}" not in state.factories[player])
            if not blocked and (x, y) not in taken:
                taken.add((x, y))
                action[name] = [[0, int(direction), 0, 0, 0, 1]]
                break
    return action
