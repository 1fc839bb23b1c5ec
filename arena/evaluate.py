"""Evaluation: an agent on unseen maps, whole games, on the fast engine.

Training never sees the seeds from `EVALUATION_SEEDS` on, and an evaluation has random generators of its own, so that it
changes neither what is learned nor what later evaluations see.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from agent.advisers import advice_for
from agent.lichen_opening import opening_of
from agent.scripted import make_act
from agent.scripted import names as script_names
from agent.stored import WORDS, Agent, load_agent
from agent.tasks.heads import HEADS, heads_of, is_farm
from agent.tasks.side import FarmSide
from arena.players import is_program
from arena.programs import opened, start
from engine.config import GameConfig
from engine.maps import MapPool
from wrappers.observation import observe
from wrappers.scripted import Act, ScriptedSide
from wrappers.vec_env import GameResult, VecEnv

EVALUATION_SEEDS = 1_000_000  # map seeds from here on are never trained on


class Evaluation(NamedTuple):
    """`scores` are means over games (and over the agent's sides); `games` are the games themselves."""

    scores: dict[str, float]
    games: list[GameResult]


class Side(Protocol):
    """Plays one side of one game after the other on game records."""

    def write_orders(self, game: Any, rules: Any, player: int, orders: Any) -> None: ...


class Scripted(NamedTuple):
    """An opponent of the judge's protocol; `make` makes one for a match."""

    make: Callable[[], Act]
    compiled: Callable[[], Side] | None = None
    """Makes one that plays the same on game records, without the protocol's messages."""

    def side(self, config: GameConfig) -> Side:
        """One that plays by these rules."""
        return self.compiled() if self.compiled is not None else ScriptedSide(self.make, config)


def built_in(name: str) -> Scripted:
    """A built-in opponent, or `marshal` with the heads of a file. Raises `ValueError` for a file that holds none."""
    if not is_farm(name):
        return Scripted(partial(make_act, name))
    heads = heads_of(name)
    make = partial(make_act, name) if name in script_names() else partial(make_act, "marshal", name)
    return Scripted(make, lambda: FarmSide(heads=heads))


def scripted_named(name: str) -> Scripted:
    """An opponent that is no policy: a built-in one, or a program (`arena.players.open_player`). Raises `ValueError`."""
    if name in script_names() or name.endswith(HEADS):
        return built_in(name)
    if not is_program(name):
        raise ValueError(
            f"Opponent {name!r} is not built in, and no program; accepted are {', '.join(script_names())}, a .tar.gz, a folder with "
            "main.py, a .py file and an executable."
        )
    opened(name)  # what cannot be played is told now
    return Scripted(partial(start, name))


def forfeit(game: Any, player: int) -> None:
    """This side has failed and lost its game, as the official engine books it."""
    game["failed"][player] = 1
    game["reward"][player] = game["reward"][1 - player] - 1000
    game["done"] = 1


def evaluate(
    agent: Agent,
    config: GameConfig,
    seeds: Iterable[int],
    opponent: Agent | Scripted | None = None,
    greedy: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Play one game on each map to its end.

    Without an opponent the agent decides for both sides, and a game counts as finished if both own a factory at its end.
    Against an opponent it is player_0 on every second map, and its own side counts. `progress` is called with the number
    of turns played. Map seeds must differ.
    """
    pool = MapPool(config, seeds)
    count = len(pool.seeds)
    scripts = Scripts(opponent, config, count) if isinstance(opponent, Scripted) else None
    game_of = {int(map_seed): i for i, map_seed in enumerate(pool.seeds)}

    def place(game: Any, rules: Any, player: int, orders: Any) -> None:
        i = game_of[int(game["seed"])]
        side = agent if opponent is None or player == agent_player(i) else opponent
        if isinstance(side, Agent):
            opening_of(side.actions)(game, rules, player, orders)
        elif scripts is not None:
            try:
                scripts.sides[i].write_orders(game, rules, player, orders)
            except Exception as error:
                raise ValueError(f"The opponent failed in its opening ({type(error).__name__}: {error}).") from error

    sizes, own = agent.policy.sizes, agent.policy.own_features
    look = {"grid": sizes["plane_size"], "columns": sizes.get("advice", 0), "own": own}
    env = VecEnv(config, count, pool, place, actions=agent.actions, shuffle=False, **look)
    generator = torch.Generator(next(agent.policy.parameters()).device).manual_seed(seed)
    env.reset()
    advice = advice_for(agent.policy, agent.actions, config)
    ours = [2 * game + p for game in range(count) for p in ((0, 1) if opponent is None else (agent_player(game),))]
    rival = Rival(opponent, config, [side for side in range(2 * count) if side not in ours]) if isinstance(opponent, Agent) else None
    results: dict[int, GameResult] = {}
    turn = 0
    while len(results) < count:
        if advice is not None:
            advice.write(env.games, env.rules, env.obs, ours)
        action = agent.policy.act(env.obs, generator, greedy)
        if rival is not None:
            rival.decide(env, generator, greedy, action)
        if advice is not None:
            advice.watch(env.obs, action)
        for result in env.step(action, scripts.order if scripts else None).finished:
            results[result.game] = result
        turn += 1
        if progress is not None:
            progress(turn)
    games = [results[i] for i in range(count)]
    return Evaluation(scores_of(games, opponent is not None), games)


class Rival:
    """Another policy on some sides of the games, which sees them by its own action config."""

    def __init__(self, agent: Agent, config: GameConfig, sides: list[int]) -> None:
        count = max(sides) // 2 + 1
        self.agent, self.sides = agent, sides
        self.seen = agent.policy.observation(2 * count)
        self.advice = advice_for(agent.policy, agent.actions, config)

    def decide(self, env: VecEnv, generator: torch.Generator, greedy: bool, action: np.ndarray) -> None:
        """Write the actions of its sides' rows into `action [M, 4]` of all rows."""
        observe(env.games, env.rules, self.agent.actions.rules(), env.static, self.seen)
        if self.advice is not None:
            self.advice.write(env.games, env.rules, self.seen, self.sides)
        theirs = np.isin(self.seen.side, self.sides)
        action[theirs] = self.agent.policy.act(self.seen, generator, greedy)[theirs]
        if self.advice is not None:
            self.advice.watch(self.seen, action)


def agent_player(game: Any) -> Any:
    """Which player the agent is in game number `game` (or array) of an evaluation against an opponent."""
    return game % 2


class Scripts:
    """A scripted opponent in every game of an evaluation, on the side that the agent leaves to it."""

    def __init__(self, opponent: Scripted, config: GameConfig, games: int) -> None:
        self.sides = [opponent.side(config) for _ in range(games)]
        self.rules = config.rules()

    def order(self, games: np.recarray, orders: np.recarray) -> None:
        """The opponent's orders of this turn in all games."""
        for i, side in enumerate(self.sides):
            if not games[i]["done"]:
                try:
                    side.write_orders(games[i], self.rules, 1 - agent_player(i), orders[i])
                except Exception as error:  # noqa: BLE001 told, and counted as a loss
                    warnings.warn(f"The opponent failed ({type(error).__name__}: {error}) and lost its game.", stacklevel=2)
                    forfeit(games[i], 1 - agent_player(i))


def scores_of(games: list[GameResult], against: bool) -> dict[str, float]:
    """Mean scores; `against` an opponent only the agent's side counts, see `agent_player`."""
    sides = [(game, player) for game in games for player in ((agent_player(game.game),) if against else (0, 1))]

    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    def outcome(game: GameResult, player: int) -> float:
        return 0.5 + 0.5 * (game.result if player == 0 else -game.result)

    return {
        "finished": mean(game.factories[player] > 0 if against else game.finished for game, player in sides),
        "episode_length": mean(game.turns for game in games),
        "ice_transferred": mean(game.ice_got[player] for game, player in sides),
        "factories_alive": mean(game.factories[player] for game, player in sides),
        "lichen": mean(game.lichen[player] for game, player in sides),
        "win_rate": mean(outcome(game, player) for game, player in sides),  # 0.5 by construction when it plays itself
        "episodes": float(len(games)),
    }


def opponent_named(name: str) -> str | Scripted:
    """Whom a user means by an opponent's name: a built-in agent, a program, or a checkpoint's path as it is. Raises `ValueError`."""
    if name in script_names() or name.endswith(HEADS) or is_program(name):
        return scripted_named(name)
    if name not in WORDS and not Path(name).exists():
        raise ValueError(
            f"Opponent {name!r} does not exist; accepted are {', '.join(script_names())}, a .tar.gz, a folder with main.py, "
            "a checkpoint, a run folder, latest, and shipped."
        )
    return name


def evaluate_checkpoint(
    path: str,
    maps: int,
    map_size: int | None = None,
    seed: int = 0,
    opponent: str | Scripted | None = None,
    greedy: bool = False,
    progress: bool = False,
) -> dict[str, float]:
    """Scores of a checkpoint on `maps` unseen maps; `opponent` is another checkpoint's path or a scripted agent.

    Raises `ValueError` (of which `CheckpointError` is one).
    """
    if not 1 <= maps <= 1000:
        raise ValueError(f"maps is {maps}; accepted are 1 to 1000.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must not be negative.")
    torch.set_num_threads(1)
    agent, config, _ = load_agent(path)
    if map_size is not None:
        config = GameConfig.for_map_size(map_size)
    other = load_agent(opponent)[0] if isinstance(opponent, str) else opponent
    first = EVALUATION_SEEDS + 10_000 + seed * 1000  # apart from the maps that a run's best checkpoint was chosen on
    seeds = range(first, first + maps)
    if not progress:
        return evaluate(agent, config, seeds, other, greedy, seed).scores
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("evaluating", total=config.max_episode_length)
        return evaluate(agent, config, seeds, other, greedy, seed, lambda turn: bar.update(task, completed=turn)).scores
