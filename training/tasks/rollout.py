"""Whole games at the level of tasks, N at a time, chosen by networks or by the rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from agent.tasks.dials import Dials
from agent.tasks.memory import TURN_DTYPE, empty_memory, empty_turn
from agent.tasks.play import play_all
from arena.farm_games import opened
from engine.config import GameConfig
from engine.engine import Engine
from engine.state import FACTORIES
from training.tasks.games import GHOST_DTYPE, KINDS, ROWS_DTYPE, act_all, empty_last_rows, observe_all, outcomes
from training.tasks.net import TaskNet

SCALE = 5000.0  # lichen of a factory that an outcome of one stands for
ROWS_A_GAME = 8000  # to begin with

Policy = Mapping[int, TaskNet]
"""The network of each kind of entity (`agent.tasks.candidates`: LIGHT, HEAVY, WATERING, BUILDING) that does not play by the rule."""


class Starts(NamedTuple):
    """Games that have begun, one record each: copies are played on from here."""

    games: Any
    """[N] of `GAME_DTYPE`."""
    static: Any
    """[N] of what `wrappers.observation.write_static` made of them."""
    memory: Any
    """[N] of `MEMORY_DTYPE`: what the rule keeps of both sides."""

    def of(self, which: np.ndarray) -> Starts:
        """Those of these numbers."""
        return Starts(self.games[which], self.static[which], self.memory[which])


class Rollout(NamedTuple):
    """Whole games and what was decided in them."""

    rows: Any
    """[R] of `ROWS_DTYPE`, in the order of time."""
    log_prob: torch.Tensor
    """[R] of what was chosen."""
    ghosts: Any
    """[G] of `GHOST_DTYPE`."""
    outcome: np.ndarray
    """[N, FACTORIES]: what was learned for, of the order of one."""
    lichen: np.ndarray
    """[N, 2]"""
    turns: int
    """Of all games together."""


def seen(rows: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """State, candidates and mask of rows, as a `TaskNet` takes them: only candidates that one of them is allowed, and which."""
    columns = np.flatnonzero(rows["mask"].any(0))
    state, mask = torch.from_numpy(rows["state"].copy()), torch.from_numpy(rows["mask"][:, columns]).bool()
    return state, torch.from_numpy(rows["candidates"][:, columns]), mask, torch.from_numpy(columns)


@torch.inference_mode()
def choose(rows: Any, log_prob: torch.Tensor, policies: tuple[Policy, Policy], rng: torch.Generator | None, temperature: float) -> None:
    """Fill in the choices of rows and their log-probabilities: sampled at a temperature, or the likeliest without `rng`."""
    for side, policy in enumerate(policies):
        for kind, net in policy.items():
            which = np.flatnonzero((rows["side"] == side) & (rows["kind"] == kind))
            if len(which) == 0:
                continue
            state, candidates, mask, columns = seen(rows[which])
            scores = net(state, candidates, mask)
            if rng is None:
                choice = scores.argmax(1)
            else:
                choice = torch.multinomial((scores / temperature).softmax(1), 1, generator=rng)[:, 0]
            rows["choice"][which] = columns[choice].numpy()
            log_prob[which] = scores.gather(1, choice[:, None])[:, 0]


def started(config: GameConfig, seeds: range, turn: int = 0) -> Starts:
    """The game on the map of each seed, opened and played by the rule until a turn; games that ended before are left out."""
    engine, static = opened(config, seeds)
    memory, record, both = empty_memory(len(seeds)), empty_turn(), np.full(len(seeds), 2, np.int8)
    for _ in range(turn):
        play_all(engine.games, engine.rules, Dials(), static, memory, record, both, engine.orders)
        engine.step()
    return Starts(engine.games, static, memory).of(np.flatnonzero(engine.games["done"] == 0))


def play_games(
    config: GameConfig,
    starts: Starts,
    policies: tuple[Policy, Policy],
    rng: torch.Generator | None,
    bare: tuple[bool, bool] = (False, False),
    share: bool = True,
    by_rule: int = 0,
    temperature: float = 1.0,
) -> Rollout:
    """Play games from where they are to their ends, a side by each policy; choices are sampled at a `temperature`, or, without
    `rng`, the likeliest. `share`: see `outcomes`. One side of the first `by_rule` games plays by the rule, in turns.

    A side that is `bare` has no rule to follow: its candidate is not allowed, and what is impossible ends at home.
    """
    games = len(starts.games)
    engine, static, memory = Engine(config, games), starts.static, starts.memory.copy()
    engine.games[:] = starts.games
    chosen = np.zeros((games, 2, KINDS), np.uint8)
    since = np.zeros((2, KINDS), np.int64)
    for side, policy in enumerate(policies):
        chosen[:, side, list(policy)] = 1
        since[side, list(policy)] = [int(net.since) for net in policy.values()]
        chosen[side:by_rule:2, side] = 0
    rows, log_prob = np.zeros(games * ROWS_A_GAME, ROWS_DTYPE).view(np.recarray), torch.zeros(games * ROWS_A_GAME)
    ghosts = np.zeros(games * ROWS_A_GAME // 4, GHOST_DTYPE).view(np.recarray)
    turn, last_row = np.zeros((games, 2), TURN_DTYPE).view(np.recarray), empty_last_rows(games)
    turn["bare"] = bare
    turn["bare"] &= chosen.any(2)
    common = (engine.games, engine.rules, Dials(), static, memory, turn, engine.orders)
    first, ghost, turns = 0, 0, 0
    for now in range(int(engine.games["real_step"].min()), config.max_episode_length):
        most = games * (2 * FACTORIES + 512)  # rows of one turn
        if first + most > len(rows):
            rows = np.concatenate([rows, np.zeros(len(rows) + most, ROWS_DTYPE)]).view(np.recarray)
            log_prob = torch.cat([log_prob, torch.zeros(len(rows) - len(log_prob))])
        if ghost + games * 512 > len(ghosts):
            ghosts = np.concatenate([ghosts, np.zeros(len(ghosts) + games * 512, GHOST_DTYPE)]).view(np.recarray)
        last, ghost = observe_all(*common, chosen * (now >= since).astype(np.uint8), rows, first, ghosts, ghost, last_row)
        choose(rows[first:last], log_prob[first:last], policies, rng, temperature)
        act_all(*common, rows, first, last)
        turns += int((engine.games["done"] == 0).sum())
        engine.step()
        first = last
    result = np.zeros((games, FACTORIES), np.float32)
    outcomes(engine.games, share, result)
    result = result if share else result / SCALE
    return Rollout(rows[:first], log_prob[:first], ghosts[:ghost], result, engine.games["lichen_total"].copy(), turns)
