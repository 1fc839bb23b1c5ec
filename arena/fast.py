"""The fast arena: many games at once on our engine, between any players that can play in this process.

A player is a policy (`Agent`) or an agent of the judge's protocol (`Scripted`). Games, openings included, are those that
the official engine plays with the same actions on the same map seed, and the verdict is the match runner's: a side that
fails loses, else the lichen decides. The judge's time rules are not enforced here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from agent.advisers import advice_for
from agent.lichen_opening import opening_of
from agent.stored import Agent
from arena.evaluate import Scripted, Side
from engine.config import GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from wrappers.action import write_all_orders
from wrappers.advice import Advice
from wrappers.observation import Observation, empty_static, observe, write_static
from wrappers.vec_env import Opening

SIDES = ("left", "right")  # left is player_0
Watch = Callable[[int, Any, Any], None]  # (fixture, game record, its orders), before each turn, opening included


class Fixture(NamedTuple):
    """A game to be played: `left` is player_0, `seed` the map's."""

    left: Agent | Scripted
    right: Agent | Scripted
    seed: int


@dataclass(frozen=True)
class Outcome:
    """How a game ended; pairs are (left, right). `turns` are those after the opening, as in `arena.match`."""

    winner: Literal["left", "right", "draw"]
    reason: str
    turns: int
    lichen: tuple[int, int]
    factories: tuple[int, int]
    robots: tuple[int, int]
    errors: tuple[str | None, str | None]
    """Why a side failed, as the end of a sentence; None if it did not."""


def play_games(
    fixtures: Sequence[Fixture],
    config: GameConfig,
    pool: MapPool | None = None,
    seed: int = 0,
    watch: Watch | None = None,
    on_turn: Callable[[int], None] | None = None,
    place: Opening | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """Play all these games side by side and yield (index of the fixture, outcome) as they end.

    Args:
        fixtures: the games; a record takes about half a megabyte, so give some dozens at a time.
        config: the rules.
        pool: maps to take the seeds from (default: they are made or read from the cache).
        seed: of the sampling of actions; the same fixtures with the same seed end the same way.
        watch: sees every game with its orders before each turn, for replays and tests.
        on_turn: called after each turn of the batch with the number of games still running.
        place: an opening for policies in place of their own.

    Raises `ValueError` for a map seed that the pool does not have.
    """
    arena = _Arena(fixtures, config, pool or MapPool(config, sorted({fixture.seed for fixture in fixtures})), seed, watch, place)
    for i in range(len(fixtures)):
        arena.open(i)
    yield from arena.ended()
    while len(arena.running):
        arena.turn()
        yield from arena.ended()
        if on_turn is not None:
            on_turn(len(arena.running))


class _Arena:
    """A batch of games, game i being fixture i."""

    def __init__(
        self, fixtures: Sequence[Fixture], config: GameConfig, pool: MapPool, seed: int, watch: Watch | None, place: Opening | None
    ) -> None:
        self.fixtures = fixtures
        self.place = place
        self.pool = pool
        self.watch = watch
        self.engine = Engine(config, len(fixtures))
        self.games, self.orders, self.rules = self.engine.games, self.engine.orders, self.engine.rules
        self.static = empty_static(len(fixtures))
        self.running = np.arange(len(fixtures))
        self.errors: dict[tuple[int, int], str] = {}  # (game, player): what a scripted agent broke down with
        self.scripts: dict[tuple[int, int], Side] = {}
        self.minds: list[_Mind] = []
        views: dict[Any, Observation] = {}
        known: dict[int, _Mind] = {}
        for i, fixture in enumerate(fixtures):
            for player, side in enumerate((fixture.left, fixture.right)):
                if isinstance(side, Scripted):
                    self.scripts[i, player] = side.side(config)
                    continue
                if id(side.policy) not in known:
                    grid, columns = side.policy.sizes["plane_size"], side.policy.sizes.get("advice", 0)
                    seen_alike = (side.actions, grid, columns, side.policy.config.features)
                    view = views.setdefault(seen_alike, side.policy.observation(2 * len(fixtures)))
                    advice = advice_for(side.policy, side.actions, config)
                    known[id(side.policy)] = _Mind(side, view, _generator(side, seed, len(self.minds)), advice)
                    self.minds.append(known[id(side.policy)])
                known[id(side.policy)].sides.append(2 * i + player)
        self.views = [(actions.rules(), view) for (actions, *_), view in views.items()]

    def open(self, i: int) -> None:
        """Put game `i` on its map and play its opening."""
        found = np.flatnonzero(self.pool.seeds == self.fixtures[i].seed)
        if not len(found):
            raise ValueError(f"The pool has no map of seed {self.fixtures[i].seed}.")
        self.engine.reset(i, self.pool, int(found[0]))
        game, orders = self.games[i], self.orders[i]
        while game["real_step"] < 0 and not game["done"]:
            for player, side in enumerate((self.fixtures[i].left, self.fixtures[i].right)):
                if isinstance(side, Agent):
                    place = self.place or opening_of(side.actions)
                    place(game, self.rules, player, orders)
                else:
                    self._ask_script(i, player)
            if self.watch is not None and not game["done"]:
                self.watch(i, game, orders)
            self.engine.step(i, i + 1)
        write_static(game, self.rules, self.static[i])

    def turn(self) -> None:
        """One turn of all running games."""
        for action_rules, view in self.views:
            observe(self.games, self.rules, action_rules, self.static, view)
        for mind in self.minds:
            mind.write_orders(self.games, self.rules, self.orders)
        for i, player in self.scripts:
            if not self.games[i]["done"]:
                self._ask_script(i, player)
        if self.watch is not None:
            for i in self.running:
                if not self.games[i]["done"]:
                    self.watch(int(i), self.games[i], self.orders[i])
        self.engine.step()

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """The games that have ended since the last call."""
        over = self.games["done"][self.running] != 0
        finished, self.running = self.running[over], self.running[~over]
        for i in finished.tolist():
            yield i, outcome(self.games[i], (self.errors.get((i, 0)), self.errors.get((i, 1))))

    def _ask_script(self, i: int, player: int) -> None:
        """A scripted agent that raises has lost: the game ends before the turn, as it does when its process crashes."""
        try:
            self.scripts[i, player].write_orders(self.games[i], self.rules, player, self.orders[i])
        except Exception as error:  # noqa: BLE001 told in the outcome; one broken agent must not end the others' games
            self.errors[i, player] = f"crashed ({type(error).__name__}: {error})"
            self.games[i]["failed"][player] = 1
            self.games[i]["done"] = 1


class _Mind:
    """A policy and the sides that it plays."""

    def __init__(self, agent: Agent, view: Observation, generator: torch.Generator, advice: Advice | None) -> None:
        self.agent = agent
        self.advice = advice
        self.view = view
        self.generator = generator
        self.sides: list[int] = []

    def write_orders(self, games: np.recarray, rules: Any, orders: np.recarray) -> None:
        """Decide for all sides of this policy whose game goes on."""
        sides = np.array([side for side in self.sides if not games[side // 2]["done"]], np.int64)
        if self.advice is not None:
            self.advice.write(games, rules, self.view, sides.tolist())
        seen = select_sides(self.view, sides)
        if seen.rows:
            action = np.ascontiguousarray(self.agent.policy.act(seen, self.generator), np.int64)
            side = sides[seen.side].astype(np.int32)
            write_all_orders(games, rules, side, seen.slot, action, seen.rows, orders)
            if self.advice is not None:
                whole = np.zeros((self.view.rows, 4), np.int64)
                whole[np.isin(self.view.side, sides)] = action
                self.advice.watch(self.view, whole)


def _generator(agent: Agent, seed: int, number: int) -> torch.Generator:
    device = next(agent.policy.parameters()).device
    stream = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(stream >> np.uint64(1)))


def select_sides(view: Observation, sides: np.ndarray) -> Observation:
    """The part of an observation that belongs to some sides `[k]` (ascending), numbered 0 .. k - 1 there; a copy."""
    lengths = view.first[sides + 1] - view.first[sides]
    first = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.repeat(view.first[sides] - first[:-1], lengths) + np.arange(first[-1])
    seen = Observation(0, 1)
    seen.rows, seen.map_size, seen.first = int(first[-1]), view.map_size, first
    seen.planes, seen.scalar = view.planes[sides], view.scalar[sides]
    for name in ("feature", "slot", "kind", "cell", "ident", "home", "mask"):
        setattr(seen, name, getattr(view, name)[rows])
    seen.side = np.repeat(np.arange(len(sides), dtype=np.int32), lengths)
    return seen


def outcome(game: Any, crashes: tuple[str | None, str | None] = (None, None)) -> Outcome:
    """The verdict on an ended game record, in the match runner's words; `crashes` are reasons that the record cannot tell."""
    alive = (game["factory_alive"] == 1) & (np.arange(len(game["factory_alive"])) < game["factory_count"])
    factories = [int((alive & (game["factory_owner"] == player)).sum()) for player in range(2)]
    lichen = (int(game["lichen_total"][0]), int(game["lichen_total"][1]))
    if game["robots_refused"].any():
        told = game["robots_refused"].tolist()
        warnings.warn(f"The game on map seed {int(game['seed'])} refused {told} builds: no room for more robots.", stacklevel=2)
    errors: list[str | None] = [None, None]
    for player in range(2):
        if game["failed"][player]:
            out = factories[player] == 0 and game["real_step"] >= 0
            errors[player] = crashes[player] or ("lost all factories" if out else "sent an invalid action")
    lost = [player for player in range(2) if errors[player] is not None]
    winner: Literal["left", "right", "draw"]
    if lost:
        winner = "draw" if len(lost) == 2 else "right" if lost == [0] else "left"
        reason = " and ".join(f"{SIDES[player]} {errors[player]}" for player in lost) + "."
    else:
        winner = "draw" if lichen[0] == lichen[1] else "left" if lichen[0] > lichen[1] else "right"
        who, what = ("both sides have", "the same lichen") if winner == "draw" else (f"{winner} has", "more lichen")
        reason = f"The match is over and {who} {what} ({lichen[0]} : {lichen[1]})."
    return Outcome(
        winner=winner,
        reason=reason,
        turns=max(int(game["real_step"]), 0),
        lichen=lichen,
        factories=(factories[0], factories[1]),
        robots=(int(game["robot_count"][0]), int(game["robot_count"][1])),
        errors=(errors[0], errors[1]),
    )
