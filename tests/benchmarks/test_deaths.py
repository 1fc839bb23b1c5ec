"""The benchmark of how factories die tells of each that does, with its heavies."""

from __future__ import annotations

import re

import numpy as np

from agent.tasks import memory
from agent.tasks.dials import Dials
from arena.farm_games import farm, opened
from benchmarks.deaths import KEPT, TASKS, deaths
from engine.config import GameConfig
from engine.state import WATER


def test_names_of_tasks_are_in_their_order() -> None:
    assert len(TASKS) == memory.TASKS
    assert all(TASKS[getattr(memory, f"{name.upper()}_TASK")] == name for name in TASKS[1:]) and TASKS[memory.NOTHING] == "nothing"


def test_a_factory_without_water_is_told_with_its_last_turns() -> None:
    config = GameConfig.for_map_size(48)
    engine, static = opened(config, range(2))
    games = engine.games
    dry = int(np.flatnonzero((games["factory_owner"][1] == 0) & (games["factory_alive"][1] == 1))[0])
    rule, turn = farm(2, config, static, Dials()), 0

    def other(engine, sides) -> None:
        nonlocal turn
        turn += 1
        games["factory_cargo"][..., WATER] = 300
        if turn == 130:
            games["factory_cargo"][1, dry] = 0
        rule(engine, sides)

    ((game, factory, lines),) = deaths(engine, static, other, 132)
    assert (game, factory) == (1, dry) and len(lines) == KEPT
    assert re.match(r" 129: \d+ water, \d+ power, \d+ tiles to water; \w+ \(\d+ power, \d+ ice, \d+ steps\)", lines[-1]), lines[-1]
    assert games["factory_alive"][0].sum() == (games["factory_count"][0])
