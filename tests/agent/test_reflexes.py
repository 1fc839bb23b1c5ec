"""What a robot does before it is asked: it brings ice that is awaited, and waits for the power that its next step takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agent.tasks.memory import HOME_TASK, ICE_TASK
from agent.tasks.side import FarmSide
from engine.config import SIZE
from engine.engine import Engine
from engine.state import DIG, ICE, MOVE, WATER
from tests.agent.test_farm import opened


def play_until(side: FarmSide, engine: Engine, found: Callable[[Any, int], bool]) -> int:
    """Player 0 by the rule, the other one idle, until `found(game, robot)`; returns the robot."""
    game = engine.games[0]
    for _ in range(300):
        for r in np.flatnonzero(game["robot_alive"][: len(game["robot_alive"]) // 2]).tolist():
            if found(game, r):
                return r
        game["factory_cargo"][:, WATER] = 300
        side.write_orders(game, engine.rules, 0, engine.orders[0])
        engine.step()
    raise AssertionError("no such robot")


def walk_home(side: FarmSide, game: Any, r: int) -> int:
    """Steps from a robot to the centre of its factory."""
    x, y = divmod(int(game["robot_cell"][r]), SIZE)
    home_x, home_y = divmod(int(game["factory_cell"][side.memory[0].home[r]]), SIZE)
    return abs(x - home_x) + abs(y - home_y)


def test_ice_is_brought_before_the_water_is_used_up() -> None:
    engine, side = opened(48, 7), FarmSide()

    def digs(game: Any, r: int) -> bool:
        digging = game["queue_len"][r] > 0 and game["queue"][r, 0, 0] == DIG and game["queue"][r, 0, 5] > 8
        return bool(digging and game["robot_cargo"][r, ICE] >= 100 and side.memory[0].task[r] == ICE_TASK and walk_home(side, game, r) > 2)

    r = play_until(side, engine, digs)
    game, orders = engine.games[0], engine.orders[0]
    home = int(side.memory[0].home[r])
    game["factory_cargo"][home] = 0
    game["factory_cargo"][home, WATER] = 300
    side.write_orders(game, engine.rules, 0, orders)
    assert orders["queue_len"][r] < 0  # it goes on digging
    game["factory_cargo"][home, WATER] = 9
    side.write_orders(game, engine.rules, 0, orders)
    assert orders["queue"][r, 0, 0] == MOVE and side.memory[0].task[r] == HOME_TASK
    lasted = 0
    while game["factory_alive"][home] and lasted < 14:
        engine.step()
        side.write_orders(game, engine.rules, 0, orders)
        lasted += 1
    assert game["factory_alive"][home]  # nine turns' water, and what was brought


def test_a_robot_without_power_for_its_next_step_waits() -> None:
    engine, side = opened(48, 7), FarmSide()

    def walks(game: Any, r: int) -> bool:
        moves = game["queue_len"][r] > 0 and game["queue"][r, 0, 0] == MOVE and game["queue"][r, 0, 1] > 0
        return bool(moves and game["robot_heavy"][r] and walk_home(side, game, r) > 2)

    r = play_until(side, engine, walks)
    game, orders = engine.games[0], engine.orders[0]
    queue, cell = game["queue"][r].copy(), int(game["robot_cell"][r])
    game["robot_power"][r] = 11  # enough for a new queue, which would take it all
    side.write_orders(game, engine.rules, 0, orders)
    assert orders["queue_len"][r] < 0
    waited = 0
    while int(game["robot_cell"][r]) == cell and waited < 60:
        engine.step()
        side.write_orders(game, engine.rules, 0, orders)
        assert int(game["robot_cell"][r]) != cell or (game["queue"][r] == queue).all()
        waited += 1
    assert 0 < waited < 60  # the sun gave it what it lacked
