"""The official engine behind our wrappers: N of its games with the interface of `wrappers.vec_env.VecEnv`.

It is what somebody would build who has the wrappers but not the engine, and what `benchmarks.train` measures against:
every turn the orders become official action dicts, `luxai_s2` plays them, and a game record is filled from its state, on
which the same observation, mask and reward code runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from engine.config import GameConfig
from engine.official import PLAYERS, load_official, make_official, orders_to_actions
from engine.state import ICE, ICE_DUG, ICE_GIVEN, ICE_GOT, empty_games, empty_orders
from wrappers.action import DIRECTIONS, ActionConfig, neighbour, write_all_orders
from wrappers.observation import Observation, empty_static, observe, write_static
from wrappers.rewards import RewardConfig, side_result, write_rewards
from wrappers.vec_env import Clock, GameResult, Opening, Step

Play = Callable[[Observation], np.ndarray]  # actions [M, 4] of the rows of an observation


class OfficialGames:
    """N games of the official engine.

    Args:
        config, num_games, opening, reward, actions, clock: as in `VecEnv`; sections of the clock are "engine" (official
            steps and the action dicts), "record" (game records from official states), "observation" and "reset".
        seed: of the maps; game i plays the map seeds `seed + i`, `seed + i + N` and so on.
        head_start, turns: after `reset` the first `turns` turns are played by this.

    Rewards are worked out from what robots carry before and after a turn, so only the ice terms of `RewardConfig` count, and
    what a robot hands over is booked to the factory it stands at or beside. A robot's slot is its place in the official
    order: unlike in `VecEnv`, robots move up when one before them dies. The engine's check of the action space is off.
    """

    def __init__(
        self,
        config: GameConfig,
        num_games: int,
        opening: Opening,
        reward: RewardConfig | None = None,
        actions: ActionConfig | None = None,
        seed: int = 0,
        head_start: Play | None = None,
        turns: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.config, self.opening, self.rules = config, opening, config.rules()
        self.action_rules = (actions or ActionConfig()).rules()
        self.weights = (reward or RewardConfig()).rules()
        self.clock = clock or (lambda name: nullcontext())
        self.head_start, self.turns = head_start, turns
        self.envs = [make_official(config, seed + i, validate=False) for i in range(num_games)]
        self.next_seed = seed + np.arange(num_games)
        self.games = empty_games(num_games)
        self.orders = empty_orders(num_games)
        self.static = empty_static(num_games)
        self.obs = Observation(2 * num_games)
        self.over = np.ones(num_games, bool)
        self.ice_got = np.zeros((num_games, 2), np.int64)  # by the factories of each side in the running game
        self.homes: list[dict[int, int]] = [{} for _ in range(num_games)]  # creation number of a robot to its factory
        self.rows_acted = 0
        """Rows decided for so far, those of the head start included."""

    @property
    def num_games(self) -> int:
        return len(self.envs)

    def reset(self) -> Observation:
        """Restart all games, and play the head start."""
        for i in range(self.num_games):
            self._restart(i)
        self._observe()
        if self.head_start is not None:
            for _ in range(self.turns):
                self.step(self.head_start(self.obs))
                self.reset_done()
        return self.obs

    def reset_done(self) -> Observation:
        """Restart the games that are over."""
        over = np.flatnonzero(self.over)
        for i in over:
            self._restart(int(i))
        return self._observe() if len(over) else self.obs

    def step(self, action: np.ndarray, override: None = None) -> Step:
        """Play one turn of all games: `action [M, 4]` of the rows of `obs`; as of a `VecEnv`, but that nothing overrides orders here."""
        obs = self.obs
        with self.clock("engine"):
            write_all_orders(self.games, self.rules, obs.side, obs.slot, np.ascontiguousarray(action, np.int64), obs.rows, self.orders)
            for i in range(self.num_games):
                self._play(i)
        self.rows_acted += obs.rows
        with self.clock("record"):
            for i in range(self.num_games):
                self._write_events(i)
        reward = np.zeros(obs.rows, np.float32)
        with self.clock("observation"):
            write_rewards(self.games, self.rules, self.weights, obs.side, obs.slot, obs.rows, reward)
        with self.clock("record"):
            for i in range(self.num_games):
                self._load(i)
        done = self.games["done"] != 0
        self.over = done.copy()
        finished = [self._result(int(i)) for i in np.flatnonzero(done)]
        self._observe()
        return Step(reward, done, np.zeros_like(done), finished)

    def _play(self, i: int) -> None:
        """One official turn by the orders of game `i`, which are emptied."""
        actions = {agent: orders_to_actions(self.games[i], self.orders[i], player) for player, agent in enumerate(PLAYERS)}
        self.envs[i].step(actions)
        self.orders[i] = empty_orders(1)[0]

    def _load(self, i: int) -> None:
        """Fill game `i` from the official state; a robot's home is the factory that it stood on when it was new."""
        load_official(self.games, i, self.envs[i])
        game, homes = self.games[i], self.homes[i]
        for r in np.flatnonzero(game["robot_alive"]):
            game["robot_home"][r] = homes.setdefault(int(game["robot_id"][r]), int(game["robot_home"][r]))

    def _write_events(self, i: int) -> None:
        """Write into game `i`, still as it was before the turn, what the turn brought: turn number, end, ice dug and given."""
        game, env = self.games[i], self.envs[i]
        game["real_step"] = env.state.real_env_steps
        game["done"] = not env.agents
        game["robot_event"] = 0
        game["factory_event"] = 0
        for player, agent in enumerate(PLAYERS):
            units = env.state.units[agent]
            for r in game["robot_order"][player, : int(game["robot_count"][player])]:
                unit = units.get(f"unit_{game['robot_id'][r]}")
                if unit is None:
                    continue
                gain = unit.cargo.ice - int(game["robot_cargo"][r, ICE])
                if gain > 0:
                    game["robot_event"][r, ICE_DUG] = gain
                elif gain < 0:
                    game["robot_event"][r, ICE_GIVEN] = -gain
                    self.ice_got[i, player] -= gain
                    game["factory_event"][_taker(game, int(r), player, self.config.map_size), ICE_GOT] -= gain

    def _restart(self, i: int) -> None:
        """Put game `i` on its next map and play its opening."""
        env = self.envs[i]
        self.homes[i].clear()
        self.ice_got[i] = 0
        with self.clock("reset"):
            env.reset(seed=int(self.next_seed[i]))
            self.next_seed[i] += self.num_games
            load_official(self.games, i, env)
            while env.state.real_env_steps < 0:
                for player in range(2):
                    self.opening(self.games[i], self.rules, player, self.orders[i])
                self._play(i)
                load_official(self.games, i, env)
            write_static(self.games[i], self.rules, self.static[i])
        self.over[i] = False

    def _observe(self) -> Observation:
        with self.clock("observation"):
            observe(self.games, self.rules, self.action_rules, self.static, self.obs)
        return self.obs

    def _result(self, i: int) -> GameResult:
        game = self.games[i]
        factories = [int(((game["factory_alive"] == 1) & (game["factory_owner"] == player)).sum()) for player in range(2)]
        return GameResult(
            game=i,
            seed=int(game["seed"]),
            turns=int(game["real_step"]),
            done=True,
            whole=True,
            finished=min(factories) > 0,
            result=int(side_result(game, 0)),
            ice_got=(int(self.ice_got[i, 0]), int(self.ice_got[i, 1])),
            lichen=(int(game["lichen_total"][0]), int(game["lichen_total"][1])),
            factories=(factories[0], factories[1]),
            robots=(int(game["robot_count"][0]), int(game["robot_count"][1])),
            robots_refused=(0, 0),
        )


def _taker(game: Any, r: int, player: int, map_size: int) -> int:
    """The own factory that robot `r` stands at or beside."""
    cells = [neighbour(int(game["robot_cell"][r]), direction, map_size) for direction in range(DIRECTIONS)]
    factories = [int(game["factory_at"][cell]) for cell in cells if cell >= 0]
    return next(f for f in factories if f >= 0 and game["factory_owner"][f] == player)
