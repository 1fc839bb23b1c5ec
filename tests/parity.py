"""One game played on both engines at once, compared after every turn."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from engine.config import HEAVY_ROBOT, GameConfig, RobotConfig
from engine.engine import Engine
from engine.official import PLAYERS, compare, load_official, make_official, step_orders


class Pair:
    """The official environment and a game of ours in the same state; `step` fails on any difference between them."""

    def __init__(self, config: GameConfig, seed: int, validate: bool = True) -> None:
        self.config = config
        self.env = make_official(config, seed, validate)
        self.engine = Engine(config, 1)
        self.turns = 0
        self.reload()

    @property
    def game(self) -> Any:
        return self.engine.games[0]

    @property
    def done(self) -> bool:
        return not self.env.agents

    def reload(self) -> None:
        """Take over the official state after somebody changed it by hand."""
        load_official(self.engine.games, 0, self.env)
        differences = compare(self.game, self.env)
        assert not differences, "a loaded game differs from what it was loaded from:\n" + "\n".join(differences)

    def step(self, actions: dict[str, Any]) -> None:
        """One turn on both; raises `AssertionError` with the turn, the differences and the actions."""
        before = copy.copy(actions)
        step_orders(actions, self.game, self.engine.rules, self.engine.orders[0])
        played = {key: dict(value) if isinstance(value, dict) else value for key, value in actions.items()}
        _, rewards, terminations, truncations, _ = self.env.step(played)
        self.engine.step()
        self.turns += 1
        differences = compare(self.game, self.env, rewards, terminations, truncations)
        if differences:
            with np.printoptions(threshold=10_000):
                raise AssertionError(f"turn {self.turns}:\n" + "\n".join(differences) + f"\nactions: {before}")

    def play(self, stream: Any, rng: np.random.Generator, turns: int) -> int:
        """Up to `turns` turns of a stream of actions; returns how many were played before the game ended."""
        for turn in range(turns):
            if self.done:
                return turn
            self.step(stream(self.env, rng))
        return turns


# always night and free queue updates, so that power changes only by what a scene is about
SCENE = GameConfig.for_map_size(
    48,
    min_factories=2,
    max_factories=2,
    day_length=0,
    light=RobotConfig(action_queue_power_cost=0),
    heavy=dataclasses.replace(HEAVY_ROBOT, action_queue_power_cost=0),
)
HOMES = (((10, 10), (10, 20)), ((30, 10), (30, 20)))


class Scene(Pair):
    """A bare map with two factories a side at `HOMES`, after the opening."""

    def __init__(self, config: GameConfig = SCENE, seed: int = 0) -> None:
        super().__init__(config, seed)
        board = self.env.state.board
        board.rubble[:] = board.ice[:] = board.ore[:] = 0
        board.valid_spawns_mask[1:-1, 1:-1] = True
        self.reload()
        self.step({agent: {"faction": "AlphaStrike", "bid": 0} for agent in PLAYERS})
        for k in range(4):
            agent, spawn = PLAYERS[k % 2], np.array(HOMES[k % 2][k // 2])
            self.step({agent: {"spawn": spawn, "water": 150, "metal": 150}})
        assert self.game.real_step == 0

    def robot(self, player: int, kind: str, cell: tuple[int, int], power: int = 100, **cargo: int) -> Any:
        from luxai_s2.unit import UnitType

        unit = self.env.add_unit(self.env.state.teams[PLAYERS[player]], UnitType[kind.upper()], np.array(cell))
        unit.power = power
        for name, amount in cargo.items():
            setattr(unit.cargo, name, amount)
        return unit

    def factory(self, player: int, slot: int = 0) -> Any:
        return list(self.env.state.factories[PLAYERS[player]].values())[slot]

    def turn(self, *orders: tuple[Any, Any]) -> None:
        """One turn in which each (robot, entries) or (factory, action) is ordered; the official state is taken over first."""
        self.reload()
        actions: dict[str, Any] = {agent: {} for agent in PLAYERS}
        for who, action in orders:
            queue = action if isinstance(action, int) else np.array(action, int).reshape(-1, 6)
            actions[who.team.agent][who.unit_id] = queue
        self.step(actions)

    def alive(self, *robots: Any) -> list[bool]:
        return [u.unit_id in self.env.state.units[u.team.agent] for u in robots]

    def paint_lichen(self, factory: Any, cells: list[tuple[int, int]], amount: int) -> None:
        for x, y in cells:
            self.env.state.board.lichen[x, y] = amount
            self.env.state.board.lichen_strains[x, y] = factory.num_id

    def ring(self, factory: Any) -> list[tuple[int, int]]:
        x, y = (int(v) for v in factory.pos.pos)
        return [(x + d * a, y + e) for a in (-2, 2) for d, e in [(1, s) for s in (-1, 0, 1)]] + [
            (x + s, y + b) for b in (-2, 2) for s in (-1, 0, 1)
        ]
