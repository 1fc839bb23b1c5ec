"""Playing games of a tournament: one task after the other here, or in several processes that report each game at once.

The processes end with the one that started them, even if that is killed: they look every second whether it is still there.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, NamedTuple

import torch

from agent.stored import Agent, load_agent
from arena.evaluate import Scripted, built_in
from arena.fast import Fixture, play_games
from arena.match import play_match
from arena.players import Player
from arena.rating.entrants import Entrant
from arena.rating.results import Game
from engine.config import GameConfig
from engine.maps import MapPool

REPORT_EVERY = 0.3  # seconds between a task's words on how far it is
MOST_DEATHS = 3  # processes that may die in a row without a finished game between


class Pairing(NamedTuple):
    """A game to be played; `left` and `right` are numbers of entrants."""

    left: int
    right: int
    seed: int


@dataclass(frozen=True)
class Task:
    """Games that are played together."""

    referee: Literal["fast", "official"]
    pairings: tuple[Pairing, ...]


@dataclass(frozen=True)
class Setup:
    """What every process needs: `programs` are those of entrants (by number) that the official referee plays."""

    entrants: tuple[Entrant, ...]
    programs: dict[int, Player]
    map_size: int
    seeds: tuple[int, ...]


class TaskPlayer:
    """Plays tasks one after the other; keeps the policies and maps that it has loaded."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.config = GameConfig.for_map_size(setup.map_size)
        self._sides: dict[int, Agent | Scripted] = {}
        torch.set_num_threads(1)  # the processes share the cores already

    @cached_property
    def maps(self) -> MapPool:
        return MapPool(self.config, self.setup.seeds, progress=False)

    def side(self, number: int) -> Agent | Scripted:
        """An entrant for the fast arena."""
        if number not in self._sides:
            source = self.setup.entrants[number].source
            scripted = self.setup.entrants[number].kind == "opponent"
            self._sides[number] = built_in(source) if scripted else load_agent(source)[0]
        return self._sides[number]

    def play(self, task: Task, report: Callable[[float], None]) -> Iterator[tuple[int, Game]]:
        """Yields (number of the pairing in the task, game); `report` is told how far the running games are, 0 to 1, every turn."""
        if task.referee == "official":
            for i, pairing in enumerate(task.pairings):
                yield i, self._official(pairing, report)
            return
        fixtures = [Fixture(self.side(left), self.side(right), seed) for left, right, seed in task.pairings]
        turns = 0

        def count(_: int) -> None:
            nonlocal turns
            turns += 1
            report(min(turns / self.config.max_episode_length, 1.0))

        for i, end in play_games(fixtures, self.config, self.maps, sampling_seed(self.setup, task), on_turn=count):
            yield i, self._game(task.pairings[i], "fast", end.winner, end.reason, end.turns, end.lichen, end.factories, end.errors)

    def _official(self, pairing: Pairing, report: Callable[[float], None]) -> Game:
        left, right = (self.setup.programs[number] for number in (pairing.left, pairing.right))
        last = self.config.max_episode_length
        end = play_match(left, right, pairing.seed, self.setup.map_size, progress=lambda turn, _: report(turn / last))
        sides = (end.left, end.right)
        lichen, factories = ((getattr(sides[0], name), getattr(sides[1], name)) for name in ("lichen", "factories"))
        return self._game(pairing, "official", end.winner, end.reason, end.turns, lichen, factories, (sides[0].error, sides[1].error))

    def _game(self, pairing: Pairing, referee: Any, winner: Any, reason: str, turns: int, lichen: Any, factories: Any, errors: Any) -> Game:
        left, right = self.setup.entrants[pairing.left], self.setup.entrants[pairing.right]
        ids, names = (left.ident, right.ident), (left.name, right.name)
        return Game(ids, names, self.setup.map_size, pairing.seed, referee, winner, reason, turns, lichen, factories, errors)


def sampling_seed(setup: Setup, task: Task) -> int:
    """The arena's seed for a task: the same games get the same one, others another."""
    games = [(setup.entrants[left].ident, setup.entrants[right].ident, seed) for left, right, seed in task.pairings]
    return int.from_bytes(hashlib.sha256(repr(games).encode()).digest()[:8], "big")


# In this process or in others -----------------------------------------------------------------------------------------


def play_tasks(
    setup: Setup, tasks: Sequence[Task], jobs: int, on_game: Callable[[Game], None], on_progress: Callable[[float], None]
) -> None:
    """Play all tasks; `on_game` gets each game as it ends, `on_progress` the games' worth of play in what still runs.

    Raises `ValueError` if a player cannot be loaded or the processes keep dying; games that have ended were told before.
    """
    if jobs == 1 or len(tasks) <= 1:
        player = TaskPlayer(setup)
        for task in tasks:
            _play_here(player, task, on_game, on_progress)
        return
    crew = _Crew(setup, tasks, min(jobs, len(tasks)))
    try:
        crew.run(on_game, on_progress)
    finally:
        crew.close()


def _play_here(player: TaskPlayer, task: Task, on_game: Callable[[Game], None], on_progress: Callable[[float], None]) -> None:
    left = set(range(len(task.pairings)))
    for number, game in player.play(task, lambda share: on_progress(share * len(left))):
        left.discard(number)
        on_game(game)


@dataclass
class _Worker:
    process: Any
    connection: Connection
    left: dict[int, Pairing]  # pairings of its task that have not ended, by number
    referee: Any = "fast"
    share: float = 0.0


class _Crew:
    """Processes that take tasks from a list until it is empty."""

    def __init__(self, setup: Setup, tasks: Sequence[Task], jobs: int) -> None:
        self.setup = setup
        self.waiting = list(reversed(tasks))
        self.jobs = jobs
        self.workers: list[_Worker] = []
        self.deaths = 0

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self.setup, os.getpid()), daemon=True)
        process.start()
        theirs.close()  # else its end is not seen here
        worker = _Worker(process, ours, {})
        self.workers.append(worker)
        return worker

    def _give(self, worker: _Worker) -> None:
        task = self.waiting.pop()
        worker.left, worker.referee, worker.share = dict(enumerate(task.pairings)), task.referee, 0.0
        try:
            worker.connection.send(task)
        except OSError:
            return  # it is dead, which the next look at its pipe finds

    def run(self, on_game: Callable[[Game], None], on_progress: Callable[[float], None]) -> None:
        for _ in range(self.jobs):
            self._give(self._start())
        while busy := {worker.connection: worker for worker in self.workers if worker.left}:
            for connection in wait(list(busy), timeout=1.0):
                self._hear(busy[connection], on_game)  # type: ignore[index]
            on_progress(sum(worker.share * len(worker.left) for worker in self.workers))

    def _hear(self, worker: _Worker, on_game: Callable[[Game], None]) -> None:
        """Take one message, or note the death, of a process; give it the next task if it has none left."""
        try:
            what, value = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if what == "failed":
            raise ValueError(value)
        if what == "share":
            worker.share = value
            return
        number, game = value
        self.deaths = 0
        del worker.left[number]
        on_game(game)
        if not worker.left and self.waiting:
            self._give(worker)

    def _bury(self, worker: _Worker) -> None:
        """A process died: what it had not played goes back to the list, and a new one takes over."""
        worker.process.join()
        self.workers.remove(worker)
        self.deaths += 1
        if self.deaths > MOST_DEATHS:
            code = worker.process.exitcode
            raise ValueError(f"{self.deaths} processes that play games died one after the other (the last one with exit code {code}).")
        self.waiting.append(Task(worker.referee, tuple(worker.left.values())))
        self._give(self._start())

    def close(self) -> None:
        """End all processes; those in a match end its bots first."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(10)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()


def _work(connection: Connection, setup: Setup, parent: int) -> None:
    """The life of a process: tasks in, games out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a match closes its bots
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    said = 0.0

    def report(share: float) -> None:
        nonlocal said
        if time.monotonic() - said > REPORT_EVERY:
            said = time.monotonic()
            connection.send(("share", share))

    try:
        player = TaskPlayer(setup)
        while True:
            for ended in player.play(connection.recv(), report):
                connection.send(("game", ended))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone
    except ValueError as error:
        connection.send(("failed", str(error)))


def _follow(parent: int) -> None:
    """End this process, politely, soon after its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
