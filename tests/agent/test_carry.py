"""Water is carried from factories that have much to those that need it."""

from __future__ import annotations

import numpy as np
import pytest

from agent.tasks.carry import KEPT, neediest, stock, water_need
from agent.tasks.dials import Dials
from agent.tasks.memory import CARRY_TASK, empty_memory, empty_turn
from agent.tasks.play import play_side
from engine.config import QUEUE
from engine.state import ICE, PICKUP, TRANSFER, WATER
from tests.agent.test_farm import opened
from wrappers.observation import empty_static, write_static


def own_factories(game: np.record, player: int) -> list[int]:
    there = np.arange(len(game["factory_owner"])) < game["factory_count"]
    return np.flatnonzero(there & (game["factory_owner"] == player) & (game["factory_alive"] == 1)).tolist()


def test_the_neediest_gets_what_makes_both_last_as_long() -> None:
    engine = opened(48, 7)
    game, rules = engine.games[0], engine.rules
    static, memory, turn = empty_static(1)[0], empty_memory(1)[0], empty_turn()
    write_static(game, rules, static)
    giver, *others = own_factories(game, 0)
    game["factory_cargo"][:, ICE] = 0
    game["factory_cargo"][others, WATER] = 500
    game["factory_cargo"][giver, WATER] = 900
    game["factory_grow"][:] = 0
    game["factory_grow"][giver] = 30
    poor = others[-1]
    game["factory_cargo"][poor, WATER] = 100
    game["factory_grow"][poor] = 10
    goal, amount = neediest(game, rules, static, memory, turn, 0, giver, 1000)
    assert goal == poor
    assert (900 - amount) / water_need(game, rules, giver) == pytest.approx((100 + amount) / water_need(game, rules, poor), rel=0.01)
    assert neediest(game, rules, static, memory, turn, 0, giver, 70)[1] == 70  # what the hold takes
    memory["task"][3], memory["target"][3], memory["load"][3] = CARRY_TASK, game["factory_cell"][poor], 50
    game["robot_alive"][3], game["robot_slots"][0] = 1, 4
    assert stock(game, memory, 0, poor) == 150  # what is on its way counts
    game["factory_cargo"][giver, WATER] = KEPT
    assert neediest(game, rules, static, memory, turn, 0, giver, 1000)[1] <= 0


def test_water_arrives() -> None:
    engine = opened(48, 7)
    game, rules, orders = engine.games[0], engine.rules, engine.orders[0]
    static, memory, turns = empty_static(1)[0], empty_memory(1)[0], empty_turn()
    write_static(game, rules, static)
    giver, *others = own_factories(game, 0)
    carried, before = [], 0
    for turn in range(160):
        if turn == 60:
            game["factory_cargo"][giver, WATER] = 3000
        for player in range(2):
            play_side(game, rules, Dials(), static, memory, turns, player, orders)
        for r in np.flatnonzero((memory["task"] == CARRY_TASK) & (orders["queue_len"] > 0)).tolist():
            queue = orders["queue"][r, : min(int(orders["queue_len"][r]), QUEUE)]
            carried += [int(entry[3]) for entry in queue if entry[0] == PICKUP and entry[2] == WATER]
            assert queue[-1, 0] == TRANSFER or len(queue) == QUEUE
        if turn == 60:
            before = int(game["factory_cargo"][others, WATER].sum())
        engine.step()
    assert carried, "nobody set out with water"
    assert min(carried) >= Dials().carry
    assert int(game["factory_cargo"][others, WATER].sum()) > before + Dials().carry
    assert not game["robot_cargo"][:, WATER].any() or (memory["task"] == CARRY_TASK).any()
