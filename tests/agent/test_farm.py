"""The farm of tasks: equal compiled and interpreted, legal for the official engine, and it loses no robot to a friend."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.lichen_opening import lichen_opening
from agent.tasks.candidates import CANDIDATE_SIZE, CANDIDATES, HEAVY, LIGHT, STATE_SIZE, TASK_OF, observe_side, put_wishes
from agent.tasks.dials import Dials
from agent.tasks.memory import CARRY_TASK, empty_memory, empty_turn, refresh
from agent.tasks.play import begin_turn, end_turn
from agent.tasks.side import FarmSide
from agent.tasks.threats import is_dangerous, write_threats
from agent.tasks.trips import put_steps
from agent.tasks.ways import find_way
from engine.config import CELLS, QUEUE, SIZE, GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from engine.state import DX, DY, ENTRY
from wrappers.observation import empty_static, write_static
from wrappers.routes import NO_WAY, spread_prices

ROOT = Path(__file__).resolve().parents[2]


def opened(size: int, seed: int) -> Engine:
    """One game after its opening."""
    config = GameConfig.for_map_size(size)
    engine = Engine(config, 1)
    engine.reset(0, MapPool(config, [seed]), 0)
    while engine.games[0]["real_step"] < 0:
        for player in range(2):
            lichen_opening(engine.games[0], engine.rules, player, engine.orders[0])
        engine.step()
    return engine


def play(engine: Engine, turns: int, watch: Any = None) -> None:
    """Both sides by the rule."""
    sides = [FarmSide(), FarmSide()]
    game, orders = engine.games[0], engine.orders[0]
    for _ in range(turns):
        for player, side in enumerate(sides):
            side.write_orders(game, engine.rules, player, orders)
        engine.step()
        if watch is not None:
            watch(game)


@pytest.mark.parametrize(("size", "seed"), [(48, 7), (64, 8)])
def test_no_robot_is_lost_to_a_friend(size: int, seed: int) -> None:
    engine = opened(size, seed)
    lost = []

    def watch(game: Any) -> None:
        for r in np.flatnonzero(game["robot_died"]).tolist():
            cell, other = int(game["robot_cell"][r]), r // (len(game["robot_died"]) // 2)
            enemies = [
                e
                for e in np.flatnonzero(game["robot_alive"] | game["robot_died"]).tolist()
                if e // (len(game["robot_died"]) // 2) != other and int(game["robot_cell"][e]) == cell
            ]
            if not enemies:
                lost.append((int(game["real_step"]), r))

    play(engine, 600, watch)
    assert not lost
    assert engine.games[0]["robot_count"].min() > 10


def test_interpreted_it_plays_the_same_game(tmp_path: Path) -> None:
    code = """
import sys
from tests.agent.test_farm import opened, play
engine = opened(24, 3)
play(engine, 120)
sys.stdout.buffer.write(engine.games[:1].tobytes())
"""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True, timeout=300)
    engine = opened(24, 3)
    play(engine, 120)
    assert told.stdout == engine.games[:1].tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_ways_are_the_cheapest(seed: int) -> None:
    engine = opened(48, 20 + seed)
    play(engine, 40)
    game, rules = engine.games[0], engine.rules
    turn, memory = empty_turn(), empty_memory(1)[0]
    refresh(game, memory, turn, 0)
    write_threats(game, rules, memory, turn, 0)
    r = int(game["robot_order"][0, 0])
    heavy, start = int(game["robot_heavy"][r]), int(game["robot_cell"][r])
    enter = np.full(CELLS, NO_WAY, np.int16)
    for cell in range(CELLS):
        x, y = divmod(cell, SIZE)
        factory, other = int(game["factory_at"][cell]), int(game["robot_at"][cell])
        closed = x >= 48 or y >= 48 or is_dangerous(game, turn, r, cell)
        closed |= factory >= 0 and (game["factory_owner"][factory] != 0 or game["factory_cell"][factory] == cell)
        if not closed and not (other >= 0 and other != r and other < len(game["robot_at"]) // 8):
            enter[cell] = int(rules.move_cost_at[heavy, game["rubble"][cell]])
    steps = np.zeros(CELLS, np.int8)
    rng = np.random.default_rng(seed)
    for goal in rng.choice(np.flatnonzero(enter < NO_WAY), 12).tolist():
        price = np.full(CELLS, NO_WAY, np.int16)
        price[goal] = 0
        spread_prices(price, enter, 48)
        count, cost = find_way(game, rules, turn, r, start, goal, False, steps)
        if price[start] >= NO_WAY:
            continue  # only over a friend that is about to move on
        assert count >= 0 and cost <= price[start]
        cell = start
        for d in steps[:count].tolist():
            cell += DX[d] * SIZE + DY[d]
        assert cell == goal


def test_a_walk_is_one_entry_a_straight_stretch() -> None:
    queue = np.zeros((QUEUE, ENTRY), np.int16)
    length = put_steps(queue, 0, np.array([1, 1, 2, 2, 2, 1], np.int8), 6)
    assert queue[:length, [0, 1, 5]].tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 1]]


def decide(engine: Engine, player: int, memory: Any, turn: Any, static: Any, rng: np.random.Generator | None) -> int:
    """A turn of one side in two halves; robots that decide take a random candidate, or (no `rng`) the rule's. How many decide."""
    game, orders, rules, dials = engine.games[0], engine.orders[0], engine.rules, Dials()
    count = 2 * 256
    robots, cells = np.zeros(count, np.int16), np.zeros((count, CANDIDATES), np.int16)
    state = np.zeros((count, STATE_SIZE), np.float32)
    rows, mask = np.zeros((count, CANDIDATES, CANDIDATE_SIZE), np.float32), np.zeros((count, CANDIDATES), np.uint8)
    begin_turn(game, rules, dials, static, memory, turn, player, orders)
    last = 0
    for kind in (LIGHT, HEAVY):
        last = observe_side(game, rules, static, dials, memory, turn, player, kind, last, robots, state, cells, rows, mask)
    assert np.isfinite(state[:last]).all() and np.isfinite(rows[:last]).all() and np.abs(state[:last]).max(initial=0) < 10
    assert mask[:last, 0].all()  # the rule's
    diggers = (cells[:last] >= 0) & (mask[:last] == 1) & (TASK_OF != CARRY_TASK)
    assert (game["factory_at"][cells[:last][diggers]] < 0).all()
    choice = np.zeros(count, np.int64)
    if rng is not None:
        choice[:last] = [rng.choice(np.flatnonzero(row)) for row in mask[:last]]
    put_wishes(turn, 0, last, robots, cells, choice)
    end_turn(game, rules, dials, static, memory, turn, player, orders)
    return last


def test_observing_changes_nothing_and_the_first_candidate_is_the_rule() -> None:
    whole, halves = opened(48, 5), opened(48, 5)
    play(whole, 400)
    memories, turn, static = [empty_memory(1)[0], empty_memory(1)[0]], empty_turn(), empty_static(1)[0]
    write_static(halves.games[0], halves.rules, static)
    decided = 0
    for _ in range(400):
        for player in range(2):
            decided += decide(halves, player, memories[player], turn, static, None)
        halves.step()
    assert decided > 400
    assert whole.games[:1].tobytes() == halves.games[:1].tobytes()


def test_wishes_are_carried_out() -> None:
    engine, rng = opened(48, 6), np.random.default_rng(0)
    memory, turn, static = empty_memory(1)[0], empty_turn(), empty_static(1)[0]
    write_static(engine.games[0], engine.rules, static)
    wished = granted = 0
    for _ in range(300):
        decide(engine, 0, memory, turn, static, rng)
        for r in np.flatnonzero(turn["wish"] > 0).tolist():
            wished += 1
            granted += int(memory["task"][r] == turn["wish"][r])
        engine.step()
    assert wished > 100 and granted > wished / 2
    assert not engine.games["failed"][0, 0]
