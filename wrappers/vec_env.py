"""N games at a time as an environment over rows: observe, act, be rewarded, and restart what has ended.

Both sides of every game are played by the caller, each row with its own action. Games begin at their first real turn:
the bid and the placement are played by the `opening` function at each restart.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.config import GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from engine.state import ICE_GOT
from wrappers.action import ActionConfig, write_all_orders
from wrappers.observation import GRID, Observation, empty_static, observe, write_static
from wrappers.own_features import Feature
from wrappers.rewards import RewardConfig, Term, Turn, side_result, terms_of, write_rewards

Opening = Callable[[Any, Any, int, Any], None]  # (game, rules, player, orders): write a bid or a placement
Clock = Callable[[str], AbstractContextManager[Any]]  # `with clock("engine"): ...` books the time of a section


@dataclass(frozen=True)
class GameResult:
    """An ended or truncated game. Pairs are (player_0, player_1)."""

    game: int
    seed: int
    turns: int
    done: bool
    """False if it was truncated."""
    whole: bool
    """It was done, or truncated by `max_turns`; False if it was cut short for staggering."""
    finished: bool
    """Both sides own a factory at the end."""
    result: int
    """1, 0 or -1 for player_0; 0 for a truncated game."""
    ice_got: tuple[int, int]
    lichen: tuple[int, int]
    factories: tuple[int, int]
    robots: tuple[int, int]
    robots_refused: tuple[int, int]
    """Builds that found no room in the game record; the engine plays a game exactly only if they are 0."""


@dataclass
class Step:
    """What a turn brought: rewards of the rows that acted, and which games are over. Valid until the next step."""

    reward: np.ndarray  # [M] float32
    done: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    finished: list[GameResult]


class VecEnv:
    """N rolling games on the maps of a pool.

    Args:
        config: the rules.
        num_games: N.
        pool: where maps come from; each restart draws one with the environment's own generator.
        opening: writes a side's bid or placement.
        reward, actions: configs of the rewards and of what is offered (default: `RewardConfig()`, `ActionConfig()`).
        seed: of the generator.
        max_turns: games are truncated after so many real turns (default: played to their end).
        threads: parts of the batch that advance at once.
        stagger: the first games are truncated at evenly spread turns, so that later restarts do not coincide.
        shuffle: draw maps at random; otherwise game i plays map i, then i + N, and so on.
        grid: planes of the observation are grid x grid.
        columns, own: room for advice in the features, and features of a user's own (see `Observation`).
        starts: game records [K] in their real turns; this share of the restarts copies one of them instead of drawing a map.
        clock: is told of the sections "engine" (codec, engine, rewards) and "observation" (features and masks) of a step.

    Attributes: `engine`, `games` (its records), `obs` (the observation that the next `step` acts on), `static`, `actions`.
    """

    def __init__(
        self,
        config: GameConfig,
        num_games: int,
        pool: MapPool,
        opening: Opening,
        reward: RewardConfig | None = None,
        actions: ActionConfig | None = None,
        seed: int = 0,
        max_turns: int | None = None,
        threads: int = 1,
        stagger: bool = False,
        shuffle: bool = True,
        grid: int = GRID,
        columns: int = 0,
        own: Sequence[Feature] = (),
        starts: np.recarray | None = None,
        start_share: float = 0.5,
        clock: Clock | None = None,
    ) -> None:
        if max_turns is not None and max_turns < 1:
            raise ValueError(f"max_turns is {max_turns}; accepted are 1 and more, or None to play games to their end.")
        self.config = config
        self.pool = pool
        self.opening = opening
        self.stagger = stagger
        self.shuffle = shuffle
        self.starts, self.start_share = starts, start_share
        self.clock = clock or (lambda name: nullcontext())
        self.max_turns = config.max_episode_length if max_turns is None else max_turns
        self.engine = Engine(config, num_games, threads)
        self.rules = self.engine.rules
        self.actions = actions or ActionConfig()
        self.action_rules = self.actions.rules()
        self.weights = (reward or RewardConfig()).rules()
        self.terms = terms_of(reward or RewardConfig())
        self.static = empty_static(num_games)
        self.obs = Observation(2 * num_games, grid, columns, own)
        self.rng = np.random.default_rng(seed)
        self.map_index = np.arange(num_games) - num_games  # of the running game
        self.limit = np.full(num_games, self.max_turns, np.int64)  # turn at which the running game is truncated
        self.over = np.ones(num_games, bool)  # ended, and not yet restarted
        self.restarting = 0  # the game whose opening is being played
        self._reward = np.zeros(0, np.float32)
        self._workers = ThreadPoolExecutor(self.engine.threads) if self.engine.threads > 1 else None

    @property
    def num_games(self) -> int:
        return self.engine.num_games

    @property
    def games(self) -> np.recarray:
        return self.engine.games

    def reset(self) -> Observation:
        """Restart all games on newly drawn maps."""
        for i in range(self.num_games):
            self._restart(i)
        self.limit[:] = self.max_turns
        if self.stagger:
            limit = -(-self.max_turns * (np.arange(self.num_games) + 1) // self.num_games)
            self.limit[:] = np.where(self.games["real_step"] < limit, limit, self.max_turns)
        return self._observe()

    def reset_done(self) -> Observation:
        """Restart the games that are over, and observe all."""
        over = np.flatnonzero(self.over)
        for i in over:
            self._restart(int(i))
        self.limit[over] = self.max_turns
        return self._observe() if len(over) else self.obs

    def step(self, action: np.ndarray, override: Callable[[np.recarray, np.recarray], None] | None = None) -> Step:
        """Play one turn of all games.

        Args:
            action: [M, 4] int64, `[kind, direction, resource, amount]` of the rows of `obs`, legal by their masks.
            override: called with the games and their written orders, to order something else for sides that are not
                decided by rows.

        Games that are done stand still, without rows, until they are restarted. Raises `ValueError` for another shape,
        `RuntimeError` if a game was truncated and not restarted.
        """
        obs = self.obs
        if action.shape != (obs.rows, 4):
            raise ValueError(f"action has shape {action.shape}; the observation has {obs.rows} rows, so ({obs.rows}, 4) is expected.")
        over = self.over
        if (over & (self.games["done"] == 0)).any():
            cut = np.flatnonzero(over & (self.games["done"] == 0)).tolist()
            raise RuntimeError(f"Games {cut} were truncated; call reset_done() (or reset()) before step().")
        action = np.ascontiguousarray(action, np.int64)
        with self.clock("engine"):
            write_all_orders(self.games, self.rules, obs.side, obs.slot, action, obs.rows, self.engine.orders)
            if override is not None:
                override(self.games, self.engine.orders)
            self.engine.step()
            if obs.rows > len(self._reward):
                self._reward = np.zeros(obs.rows * 3 // 2, np.float32)
            reward = self._reward[: obs.rows]
            write_rewards(self.games, self.rules, self.weights, obs.side, obs.slot, obs.rows, reward)
            for term in self.terms:
                reward += self._own_reward(term)
        done = (self.games["done"] != 0) & ~over
        truncated = ~done & ~over & (self.games["real_step"] >= self.limit)
        self.over = done | truncated | over
        finished = [self._result(int(i)) for i in np.flatnonzero(done | truncated)]
        for result in finished:
            if any(result.robots_refused):
                warnings.warn(
                    f"The game on map seed {result.seed} refused {result.robots_refused} builds: no room for more robots.", stacklevel=2
                )
        self._observe()
        return Step(reward, done, truncated, finished)

    def _own_reward(self, term: Term) -> np.ndarray:
        rows = self.obs.rows
        value = np.asarray(term(Turn(self.games, self.rules, self.obs.side[:rows], self.obs.slot[:rows])))
        if value.shape != (rows,):
            raise ValueError(f"The reward term {term.__name__} gives shape {value.shape}; ({rows},) is expected, a number for each row.")
        return value

    def state(self) -> dict[str, Any]:
        """Everything that the future depends on: numpy arrays and plain numbers, copied."""
        return {
            "games": _bytes_of(self.games),
            "static": _bytes_of(self.static),
            "map_index": self.map_index.copy(),
            "limit": self.limit.copy(),
            "over": self.over.copy(),
            "rng": self.rng.bit_generator.state,
        }

    def load_state(self, state: dict[str, Any]) -> Observation:
        """Go on from `state()`, exactly. Raises `ValueError` if it is of another number of games or another record layout."""
        for name, records in (("games", self.games), ("static", self.static)):
            stored = np.ascontiguousarray(state[name], np.uint8)
            wanted = (self.num_games, records.dtype.itemsize)
            if stored.shape != wanted:
                raise ValueError(f"The state holds {name} of shape {stored.shape}; this environment's are {wanted}.")
            records[:] = stored.view(records.dtype).reshape(self.num_games)
        self.map_index[:] = state["map_index"]
        self.limit[:] = state["limit"]
        self.over = np.array(state["over"], bool)
        self.rng.bit_generator.state = state["rng"]
        return self._observe()

    def _restart(self, i: int) -> None:
        """Put game `i` on a newly drawn map and play its opening, or put it into one of the given states."""
        if self.starts is not None and self.rng.random() < self.start_share:
            self.games[i] = self.starts[int(self.rng.integers(len(self.starts)))]
        else:
            self._begin(i)
        write_static(self.games[i], self.rules, self.static[i])
        self.over[i] = False

    def _begin(self, i: int) -> None:
        maps = len(self.pool.seeds)
        index = int(self.rng.integers(maps)) if self.shuffle else int(self.map_index[i] + self.num_games) % maps
        self.map_index[i] = index
        self.engine.reset(i, self.pool, index)
        self.restarting = i
        game, orders = self.games[i], self.engine.orders[i]
        while game["real_step"] < 0 and not game["done"]:
            for player in range(2):
                self.opening(game, self.rules, player, orders)
            self.engine.step(i, i + 1)
        if game["done"]:
            raise RuntimeError(f"The opening of the game on map seed {int(game['seed'])} failed: a side placed nothing or bid too much.")

    def _observe(self) -> Observation:
        with self.clock("observation"):
            observe(self.games, self.rules, self.action_rules, self.static, self.obs, self._workers, self.engine.threads)
        return self.obs

    def _result(self, i: int) -> GameResult:
        game = self.games[i]
        factories = [int(((game["factory_alive"] == 1) & (game["factory_owner"] == player)).sum()) for player in range(2)]

        def pair(values: Any) -> tuple[int, int]:
            return int(values[0]), int(values[1])

        return GameResult(
            game=i,
            seed=int(game["seed"]),
            turns=int(game["real_step"]),
            done=bool(game["done"]),
            whole=bool(game["done"]) or int(game["real_step"]) >= self.max_turns,
            finished=min(factories) > 0,
            result=int(side_result(game, 0)),
            ice_got=pair(game["factory_total"][:, ICE_GOT]),
            lichen=pair(game["lichen_total"]),
            factories=pair(factories),
            robots=pair(game["robot_count"]),
            robots_refused=pair(game["robots_refused"]),
        )


def _bytes_of(records: np.recarray) -> np.ndarray:
    """Records [N] as bytes `[N, itemsize]`, copied as bytes: a copy of records would leave what is between the fields to chance."""
    return records.view(np.ndarray).view(np.uint8).reshape(len(records), records.dtype.itemsize).copy()
