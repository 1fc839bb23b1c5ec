"""What a robot that decides is shown, against the same counted cell by cell, and that it finds an enemy that it goes for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.tasks.candidates import CANDIDATE, CANDIDATE_SIZE, CANDIDATES, FIELD, NEAR, TASK_OF, look_near, side_totals, write_candidates
from agent.tasks.dials import Dials
from agent.tasks.goals import best_lichen, list_lichen
from agent.tasks.memory import HUNT_TASK, empty_memory, empty_turn
from agent.tasks.play import begin_turn, end_turn
from engine.config import MAX_ROBOTS, SIZE
from engine.engine import Engine
from engine.state import FACTORIES, WATER
from tests.agent.test_farm import opened, play
from wrappers.observation import empty_static, write_static

Begun = tuple[Engine, Any, Any, Any]


@pytest.fixture(scope="module")
def begun() -> Begun:
    """A game in turn 850, fields and robots of both sides among each other, as player 0 sees it: static record, memory, turn."""
    engine = opened(48, 12)
    play(engine, 850)
    memory, turn, static = empty_memory(1)[0], empty_turn(), empty_static(1)[0]
    write_static(engine.games[0], engine.rules, static)
    begin_turn(engine.games[0], engine.rules, Dials(), static, memory, turn, 0, engine.orders[0])
    return engine, static, memory, turn


def robots_of(game: Any, player: int) -> list[int]:
    """A side's robots."""
    return [r for r in range(player * MAX_ROBOTS, (player + 1) * MAX_ROBOTS) if game["robot_alive"][r]]


def steps(first: int, second: int) -> int:
    """From cell to cell."""
    return abs(first // SIZE - second // SIZE) + abs(first % SIZE - second % SIZE)


def test_what_is_near(begun: Begun) -> None:
    game = begun[0].games[0]
    own, enemies = robots_of(game, 0), robots_of(game, 1)
    seen, met = np.zeros(5, np.float32), np.zeros(5)
    for r in own:
        for cell in [int(game["robot_cell"][r]), *game["robot_cell"][enemies[:20]].tolist()]:
            look_near(game, begun[0].rules, r, cell, seen)
            close = [e for e in enemies if steps(cell, int(game["robot_cell"][e])) <= NEAR]
            stronger = sum(game["robot_heavy"][e] >= game["robot_heavy"][r] for e in close)
            weaker = sum(game["robot_heavy"][e] <= game["robot_heavy"][r] for e in close)
            mates = sum(steps(cell, int(game["robot_cell"][m])) <= NEAR for m in own if m != r)
            lichen = [0, 0]
            for there in np.flatnonzero(game["lichen"]).tolist():
                if max(abs(there // SIZE - cell // SIZE), abs(there % SIZE - cell % SIZE)) <= FIELD:
                    lichen[game["factory_owner"][game["strain"][there]]] += int(game["lichen"][there])
            expected = [stronger / 2, weaker / 2, mates / 4, lichen[0] / 2000, lichen[1] / 2000]
            assert seen == pytest.approx(expected, abs=1e-5)
            met += seen
    assert (met > 0).all()


def test_stocks_of_both_sides(begun: Begun) -> None:
    game, totals = begun[0].games[0], np.zeros((2, 8), np.float32)
    side_totals(game, totals)
    alive = game["factory_alive"] == 1
    for player in range(2):
        own, robots = alive & (game["factory_owner"] == player), robots_of(game, player)
        cells = game["robot_cell"][robots]
        raiders = sum(game["lichen"][c] > 0 and game["factory_owner"][game["strain"][c]] != player for c in cells)
        kinds = np.bincount(game["robot_heavy"][robots], minlength=2)
        stock = [game["factory_connected"][own].sum() / 400, game["factory_cargo"][own][:, WATER].sum() / 2000]
        expected = [own.sum() / 4, kinds[1] / 20, kinds[0] / 20, game["lichen_total"][player] / 20000, *stock]
        assert totals[player] == pytest.approx([*expected, game["factory_power"][own].sum() / 10000, raiders / 10], rel=1e-4)


def test_each_enemy_factory_has_a_best_tile(begun: Begun) -> None:
    engine, _, _, turn = begun
    game, r = engine.games[0], robots_of(engine.games[0], 0)[0]
    cells, scores = np.zeros(FACTORIES, np.int16), np.zeros(FACTORIES, np.int32)
    list_lichen(game, engine.rules, turn, r, cells, scores)
    once = int(engine.rules["dig_lichen_removed"][game["robot_heavy"][r]])
    danger = turn["danger"][game["robot_heavy"][r]]
    best: dict[int, tuple[int, int]] = {}
    for there in np.flatnonzero(game["lichen"]).tolist():
        f, lichen = int(game["strain"][there]), int(game["lichen"][there])
        if game["factory_owner"][f] == 0 or turn["used"][there] or danger[there] > 0 or game["robot_at"][there] >= 0:
            continue
        best[f] = max(best.get(f, (0, 0)), (1000 * lichen // (steps(there, int(game["robot_cell"][r])) - (-lichen // once) + 1), -there))
    assert len(best) > 1
    for f in range(FACTORIES):
        if cells[f] >= 0 and danger[cells[f]] == 0:
            assert (scores[f], -cells[f]) == best[f]
        assert (cells[f] >= 0) == (scores[f] > 0) >= (f in best)
    assert best_lichen(game, engine.rules, turn, r) == -max((int(s), -int(c)) for s, c in zip(scores, cells) if c >= 0)[1]


def test_who_goes_for_an_enemy_gets_it() -> None:
    engine = opened(48, 5)
    play(engine, 300)
    game, rules, orders = engine.games[0], engine.rules, engine.orders[0]
    memory, turn, static = empty_memory(1)[0], empty_turn(), empty_static(1)[0]
    write_static(game, rules, static)
    heavies = [r for r in robots_of(game, 0) if game["robot_heavy"][r] and game["factory_at"][game["robot_cell"][r]] < 0]
    r, e = heavies[0], next(e for e in robots_of(game, 1) if not game["robot_heavy"][e])
    cell = int(game["robot_cell"][r])
    free = (game["factory_at"] < 0) & (game["robot_at"] < 0)
    place = next(c for c in np.flatnonzero(free).tolist() if steps(cell, c) == 3 and max(divmod(c, SIZE)) < 48)
    game["robot_at"][game["robot_cell"][e]] = -1
    game["robot_cell"][e], game["robot_at"][place] = place, e
    game["robot_power"][r], game["queue_len"][[r, e]] = 2000, 0
    cells, rows, mask = np.zeros(CANDIDATES, np.int16), np.zeros((CANDIDATES, CANDIDATE_SIZE), np.float32), np.zeros(CANDIDATES, np.uint8)
    begin_turn(game, rules, Dials(), static, memory, turn, 0, orders)
    assert turn["decides"][r]
    write_candidates(game, rules, static, Dials(), memory, turn, r, 700, cells, rows, mask)
    k = next(k for k in np.flatnonzero(TASK_OF == HUNT_TASK) if cells[k] == place)
    assert mask[k] and rows[k, CANDIDATE.hunt] == 1 and rows[k, CANDIDATE.gain] == 0 and rows[k, CANDIDATE.digs] == 1  # a light that stands
    turn["wish"][r], turn["goal"][r] = HUNT_TASK, place
    end_turn(game, rules, Dials(), static, memory, turn, 0, orders)
    assert memory["task"][r] == HUNT_TASK
    for _ in range(3):
        game["queue_len"][e] = 0
        engine.step()
    assert game["robot_alive"][r] and not game["robot_alive"][e] and game["robot_cell"][r] == place
