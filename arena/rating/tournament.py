"""Tournaments: which games there are, which of them are missing, and when enough is known.

Game k of a pair is on map seed `first_seed + k // 2`, with the sides swapped in every second game, so each map is played
from both sides and all pairs play the same maps. What is in the results file already is not played again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

from arena.match import env_settings
from arena.rating.entrants import Entrant, Field
from arena.rating.matches import Pairing, Setup, Task, play_tasks
from arena.rating.results import Game, Results
from arena.rating.standings import certain, tabulate
from engine.config import GameConfig
from engine.maps import MapPool

RATING_SEEDS = 2_000_000  # apart from the maps of training and of evaluations
MOST_GAMES = 2_000  # of a pair: half of them are maps, and the next seed's maps begin behind
FIRST_LOOK = 8  # games of each pair before the first look at whether the order is certain; each further one is after twice as many
TOGETHER = 64  # games of checkpoints that are played side by side: a turn of the network costs little more for many than for one


@dataclass(frozen=True)
class Rules:
    """How a tournament is played."""

    games: int = 20
    """Games of each pair."""
    map_size: int = 48
    seed: int = 0
    """Which maps."""
    referee: Literal["fast", "official"] | None = None
    """None: fast for those who can play in this process, else official."""
    jobs: int = 1
    """Processes."""
    confidence: float | None = None
    """Stop when the order is certain at this level; None plays all games."""

    def check(self) -> None:
        """Raises `ValueError` for what cannot be played."""
        env_settings(self.map_size)
        if not 2 <= self.games <= MOST_GAMES or self.games % 2:
            raise ValueError(
                f"games is {self.games}; accepted are even numbers from 2 to {MOST_GAMES}, as every map is played from both sides."
            )
        if not 0 <= self.seed <= 1_000_000:
            raise ValueError(f"seed is {self.seed}; accepted are 0 to 1000000.")
        if not 1 <= self.jobs <= 256:
            raise ValueError(f"jobs is {self.jobs}; accepted are 1 to 256.")
        if self.confidence is not None and not 0.5 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; it must lie between 0.5 and 1, for instance 0.95.")

    @property
    def first_seed(self) -> int:
        return RATING_SEEDS + self.seed * (MOST_GAMES // 2)

    def stages(self) -> list[int]:
        """Games of each pair after which the order is looked at."""
        if self.confidence is None:
            return [self.games]
        ends = [FIRST_LOOK]
        while ends[-1] < self.games:
            ends.append(2 * ends[-1])
        return [*ends[:-1], self.games]


class Ending(NamedTuple):
    """How a tournament ended: games played now, games found in the file, and whether it stopped early with a certain order."""

    played: int
    found: int
    early: bool


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pairs_of(players: int, pool: int) -> list[tuple[int, int]]:
    """Who meets whom, by number, the pool coming after the players: everybody everybody, or players the pool only."""
    if pool:
        return [(a, players + b) for a in range(players) for b in range(pool)]
    return list(combinations(range(players), 2))


def check_field(players: Sequence[Entrant], pool: Sequence[Entrant], rules: Rules) -> None:
    """Raises `ValueError` for too few players, and for the fast referee with somebody whom it cannot play."""
    rules.check()
    if len(players) + len(pool) < 2 or not players:
        raise ValueError(f"{len(players) + len(pool)} player is given; a rating needs at least two, or one and --against.")
    programs = [entrant.name for entrant in (*players, *pool) if not entrant.in_process]
    if rules.referee == "fast" and programs:
        raise ValueError(
            f"The fast referee cannot play {programs[0]}, a program; it plays checkpoints and built-in opponents. Use official."
        )


def run(field: Field, pool: int, rules: Rules, results: Results, on_progress: Callable[[int, float, int], None] | None = None) -> Ending:
    """Play what is missing of a tournament into the results file.

    Args:
        field: the players; the last `pool` of them are met by the others only (0: everybody meets everybody).
        rules: see `Rules`.
        results: opened for writing; each game is in it as soon as it has ended.
        on_progress: called with the games that have ended, how many games' worth of play the running ones have behind them, and
            all games there are.

    Raises `ValueError`.
    """
    entrants = field.entrants
    players = entrants[: len(entrants) - pool]
    check_field(players, entrants[len(players) :], rules)
    pairs = pairs_of(len(players), pool)
    total = len(pairs) * rules.games
    found = sum(_key(field, rules, pairing) in results for pairing in _schedule(pairs, rules, 0, rules.games))
    done, played = 0, 0
    ready: Setup | None = None

    def tell(running: float) -> None:
        if on_progress is not None:
            on_progress(done, running, total)

    def keep(game: Game) -> None:
        nonlocal done, played
        results.add(game)
        done += 1
        played += 1
        tell(0.0)

    begin = 0
    for end in rules.stages():
        stage = _schedule(pairs, rules, begin, end)
        missing = [pairing for pairing in stage if _key(field, rules, pairing) not in results]
        done += len(stage) - len(missing)
        if missing:
            ready = ready or _prepare(field, pairs, rules)
            tell(0.0)
            play_tasks(ready, _tasks(entrants, missing, rules), rules.jobs, keep, tell)
        begin = end
        if rules.confidence is not None and end < rules.games:
            games = [game for game in results.games if game.map_size == rules.map_size]
            idents = [entrant.ident for entrant in entrants]
            if certain(tabulate(games), idents[: len(players)], idents[len(players) :], rules.confidence, len(rules.stages())):
                return Ending(played, found, True)
    return Ending(played, found, False)


def _schedule(pairs: Sequence[tuple[int, int]], rules: Rules, begin: int, end: int) -> list[Pairing]:
    """Games `begin .. end - 1` of each pair, in turn."""
    return [Pairing(*((b, a) if k % 2 else (a, b)), rules.first_seed + k // 2) for k in range(begin, end) for a, b in pairs]


def _key(field: Field, rules: Rules, pairing: Pairing) -> tuple[int, int, str, str]:
    return (rules.map_size, pairing.seed, field.entrants[pairing.left].ident, field.entrants[pairing.right].ident)


def referee_of(left: Entrant, right: Entrant, rules: Rules) -> Literal["fast", "official"]:
    """Who judges a game of these two."""
    return rules.referee or ("fast" if left.in_process and right.in_process else "official")


def _prepare(field: Field, pairs: Sequence[tuple[int, int]], rules: Rules) -> Setup:
    """Programs for the official referee, maps for the fast one."""
    entrants = field.entrants
    officials = {number for a, b in pairs for number in (a, b) if referee_of(entrants[a], entrants[b], rules) == "official"}
    programs = {number: field.program(entrants[number]) for number in sorted(officials)}
    seeds = tuple(range(rules.first_seed, rules.first_seed + rules.games // 2))
    if any(referee_of(entrants[a], entrants[b], rules) == "fast" for a, b in pairs):
        MapPool(GameConfig.for_map_size(rules.map_size), seeds, processes=rules.jobs)  # into the cache, before processes want them
    return Setup(tuple(entrants), programs, rules.map_size, seeds)


def _tasks(entrants: Sequence[Entrant], missing: Sequence[Pairing], rules: Rules) -> list[Task]:
    """The missing games in portions: the network takes many games at once, all others are played one by one."""
    together: list[Pairing] = []
    alone: list[Task] = []
    for pairing in missing:
        left, right = entrants[pairing.left], entrants[pairing.right]
        referee = referee_of(left, right, rules)
        if referee == "fast" and "checkpoint" in (left.kind, right.kind):
            together.append(pairing)
        else:
            alone.append(Task(referee, (pairing,)))
    portions = max(-(-len(together) // TOGETHER), min(rules.jobs, len(together) // 8))  # enough of them for all jobs
    tasks = [Task("fast", tuple(together[i::portions])) for i in range(portions)]
    return tasks + alone
