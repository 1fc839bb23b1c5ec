"""What must hold of every game record, whatever was played."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.config import CELLS, MAX_ROBOTS, QUEUE, SIZE, GameConfig
from engine.engine import Engine


def check_consistent(engine: Engine) -> None:
    """Everything that must hold of any state between turns."""
    config = engine.config
    on_map = np.zeros((SIZE, SIZE), bool)
    on_map[: config.map_size, : config.map_size] = True
    on_map = on_map.ravel()
    for game in engine.games:
        assert game.rubble.max() <= 100 and game.lichen.max() <= config.max_lichen_per_tile
        assert not game.rubble[~on_map].any() and not game.lichen[~on_map].any()
        assert ((game.strain >= 0) == (game.lichen > 0)).all() and game.strain.max() < max(int(game.factory_count), 1)
        grows = game.lichen > 0
        assert not game.rubble[grows].any() and not game.ice[grows].any() and not game.ore[grows].any()
        assert (game.factory_at[grows] == -1).all() and not game.rubble[game.factory_at >= 0].any()
        _check_factories(game)
        _check_robots(game, config, on_map)


def _check_factories(game: Any) -> None:
    alive = np.flatnonzero(game.factory_alive)
    assert alive.max(initial=-1) < game.factory_count
    for f in alive:
        square = np.flatnonzero(game.factory_at == f)
        assert sorted(square - game.factory_cell[f]) == [dx * SIZE + dy for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        assert game.factory_cargo[f].min() >= 0 and game.factory_power[f] >= 0
        assert 0 <= game.factory_connected[f] <= game.factory_grow[f]
    assert set(np.unique(game.factory_at)) - {-1} == set(alive)
    for player in range(2):
        mine = np.flatnonzero(game.factory_owner[: int(game.factory_count)] == player)
        assert game.factory_slot[mine].tolist() == list(range(len(mine)))
        assert game.lichen_total[player] == game.lichen[np.isin(game.strain, mine)].sum()
        assert game.reward[player] == (-1000 if game.failed[player] else game.lichen_total[player])


def _check_robots(game: Any, config: GameConfig, on_map: np.ndarray) -> None:
    alive = np.flatnonzero(game.robot_alive)
    cells = game.robot_cell[alive]
    assert len(np.unique(cells)) == len(cells), "two robots on a cell"
    assert on_map[cells].all()
    robot_at = np.full(CELLS, -1)
    robot_at[cells] = alive
    assert np.array_equal(robot_at, game.robot_at)
    under = game.factory_at[cells]
    assert ((under < 0) | (game.factory_owner[under] == alive // MAX_ROBOTS)).all(), "a robot stands on an enemy factory"
    capacity = np.array([config.light.battery_capacity, config.heavy.battery_capacity])[game.robot_heavy[alive]]
    space = np.array([config.light.cargo_space, config.heavy.cargo_space])[game.robot_heavy[alive]]
    assert (game.robot_power[alive] >= 0).all() and (game.robot_power[alive] <= capacity).all()
    assert (game.robot_cargo[alive] >= 0).all() and (game.robot_cargo[alive] <= space[:, None]).all()
    assert (game.queue_len[alive] >= 0).all() and (game.queue_len[alive] <= config.unit_action_queue_size).all()
    used = np.arange(QUEUE) < game.queue_len[alive][:, None]
    assert (game.queue[alive][used][:, 5] >= 1).all()
    assert not (game.robot_alive & game.robot_died).any()
    for player in range(2):
        order = game.robot_order[player, : int(game.robot_count[player])]
        mine = alive[alive // MAX_ROBOTS == player]
        assert sorted(order) == mine.tolist(), "the order of acting is not the living robots"
        assert (np.diff(game.robot_id[order]) > 0).all()
        assert mine.max(initial=-1) < player * MAX_ROBOTS + game.robot_slots[player]
        assert game.robot_id[mine].max(initial=-1) < game.next_id
        assert (game.factory_owner[game.robot_home[mine]] == player).all()
