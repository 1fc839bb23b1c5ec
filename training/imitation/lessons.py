"""Lessons: games kept as rows of our observations, each with what a teacher would do there; one compressed file a game.

A game is played through our own codec, so that the rows are those that a policy of ours sees: by the teacher, or by a
student whom the teacher only watches (DAgger, Ross et al. 2011, arXiv:1011.0686), which shows it the states that its own
mistakes lead to. Replays are taken as they were played; their robots are given the queues that our codec would have written.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from agent.lichen_opening import opening_of
from agent.stored import load_agent
from arena.evaluate import Rival
from engine.config import GameConfig, check_range
from engine.maps import MapPool
from wrappers.action import KIND_NAMES, KINDS, WAIT, ActionConfig
from wrappers.observation import GRID, Observation
from wrappers.rewards import RewardConfig
from wrappers.scripted import Act, ScriptedSide
from wrappers.teacher import Teacher, allowed, has_choice
from wrappers.vec_env import GameResult, VecEnv

Make = Callable[[], Act]  # makes the agent of a match; a function of a module (or `partial` of one), for processes
_OPENING = ("bid", "spawn", "spawn_water", "spawn_metal")


class Lessons(NamedTuple):
    """Rows of kept turns. A *view* is one side at one turn: views are numbered, rows are ordered by view, then slot."""

    planes: np.ndarray  # [V, C, P, P] float16
    scalar: np.ndarray  # [V, G] float16
    view: np.ndarray  # [R] int32
    feature: np.ndarray  # [R, D] float16
    slot: np.ndarray  # [R] int16
    kind: np.ndarray  # [R] int8
    home: np.ndarray  # [R] int16
    cell: np.ndarray  # [R] int16
    mask: np.ndarray  # [R] int64
    action: np.ndarray  # [R, 4] int8, the teacher's
    taught: np.ndarray  # [R] bool: there is a choice, and the mask allows the teacher's action
    returns: np.ndarray  # [R] float32, discounted; nan where rewards are not known (replays)
    count: np.ndarray  # [3, KINDS] int64: the teacher's decisions of all rows by kind; those not sayable; those the mask refuses
    outcome: np.ndarray  # [2, 4] int64 of each side: lichen, factories, robots, ice; the turns are the views'
    map_size: np.ndarray  # [] int64


@dataclass(frozen=True)
class LessonConfig:
    """What decides the lessons of a seed, beside the teacher and the student."""

    map_size: int = 48
    actions: ActionConfig = field(default_factory=lambda: ActionConfig.full(rubble_distance=10))
    reward: RewardConfig = field(default_factory=RewardConfig)
    gamma: float = 0.99
    """Of the returns that the value is taught."""
    keep: float = 0.5
    """Share of the turns that are kept; those of a game are much alike."""
    teacher_places: bool = False
    """The teacher plays its own opening instead of ours."""
    grid: int = GRID
    max_turns: int | None = None
    """Cut games off after so many turns (default: play them to the end)."""

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "gamma")
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep is {self.keep}; accepted is more than 0, up to 1.")


@dataclass(frozen=True)
class Lesson:
    """One game to be played and stored: `share` of the decisions is the student's, the rest the teacher's."""

    path: Path
    seed: int
    student: str | None = None
    """A checkpoint; without one the teacher plays."""
    share: float = 0.0
    greedy: bool = True
    """The student takes the likeliest action instead of sampling."""


class Keeper:
    """Collects the rows of a game as it is played."""

    def __init__(self) -> None:
        self.parts: list[dict[str, np.ndarray]] = []
        self.kept: list[np.ndarray] = []  # of each turn, the rows that were kept
        self.keys: list[np.ndarray] = []
        self.rewards: list[np.ndarray] = []
        self.count = np.zeros((3, KINDS), np.int64)
        self.views = 0

    def tally(self, action: np.ndarray, said: np.ndarray, legal: np.ndarray) -> None:
        """Count decisions `[m]` of the teacher."""
        for k, rows in enumerate((np.ones(len(said), bool), ~said, said & ~legal)):
            self.count[k] += np.bincount(action[rows, 0], minlength=KINDS)

    def keep(self, obs: Observation, b: int, rows: slice, action: np.ndarray, taught: np.ndarray) -> None:
        """Keep side `b` of this turn, whose rows these are."""
        part = {name: getattr(obs, name)[rows].copy() for name in ("slot", "kind", "home", "cell", "mask")}
        part["feature"] = obs.feature[rows].astype(np.float16)
        part["planes"], part["scalar"] = obs.planes[b : b + 1].astype(np.float16), obs.scalar[b : b + 1].astype(np.float16)
        part["view"] = np.full(rows.stop - rows.start, self.views, np.int32)
        part["action"], part["taught"] = action.astype(np.int8), taught
        self.parts.append(part)
        self.views += 1

    def lessons(self, returns: np.ndarray, outcome: np.ndarray, map_size: int) -> Lessons:
        """Everything kept, as one record."""
        if not self.parts:
            raise ValueError("No turn of the game was kept; keep a larger share of them.")
        joined = {name: np.concatenate([part[name] for part in self.parts]) for name in self.parts[0]}
        return Lessons(**joined, returns=returns.astype(np.float32), count=self.count, outcome=outcome, map_size=np.array(map_size))


def returns_of(keys: list[np.ndarray], rewards: list[np.ndarray], gamma: float) -> list[np.ndarray]:
    """Discounted returns of every turn's rows: `keys [m_t]` tell entities apart (numbers from 0, for life), `rewards [m_t]`."""
    ahead = np.zeros(max((int(k.max()) for k in keys if len(k)), default=0) + 1)
    returns: list[np.ndarray] = []
    for key, reward in zip(reversed(keys), reversed(rewards)):
        now = reward + gamma * ahead[key]
        ahead[key] = now
        returns.append(now)
    return returns[::-1]


def play(config: LessonConfig, lesson: Lesson, teacher: Make, opponent: Make | str | None = None) -> Lessons:
    """Play a lesson's game and keep what the teacher says in it.

    Without an opponent the teacher is asked for both sides; with one (a scripted agent, or a checkpoint's path) for the
    side `seed % 2`, and the opponent plays the other.
    """
    game_config = GameConfig.for_map_size(config.map_size)
    players = (0, 1) if opponent is None else (lesson.seed % 2,)
    teachers = {p: Teacher(teacher, game_config, p, config.actions.amounts_offered()) for p in players}
    scripted = ScriptedSide(opponent, game_config) if opponent is not None and not isinstance(opponent, str) else None
    rival = Rival(load_agent(opponent)[0], game_config, [1 - players[0]]) if isinstance(opponent, str) else None
    env = VecEnv(
        game_config,
        1,
        MapPool(game_config, [lesson.seed]),
        partial(_open, config, teachers, scripted, rival),
        reward=config.reward,
        actions=config.actions,
        shuffle=False,
        grid=config.grid,
        max_turns=config.max_turns,
    )
    rng = np.random.default_rng([lesson.seed, zlib.crc32(lesson.path.name.encode())])
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
    student = load_agent(lesson.student)[0] if lesson.student is not None else None
    if student is not None and (student.policy.config.adviser is not None or student.policy.config.features):
        raise ValueError(f"The student {lesson.student} has an adviser or features of its own, and imitation teaches policies without.")
    keeper = Keeper()
    kept: list[np.ndarray] = []
    env.reset()
    results: list[GameResult] = []
    while not results:
        obs, game = env.obs, env.games[0]
        kept.append(np.zeros(obs.rows, bool))
        wanted = rng.random() < config.keep
        action = np.zeros((obs.rows, 4), np.int64)
        if student is not None:
            action = student.policy.act(obs, generator, lesson.greedy)
        for player, asked in teachers.items():
            rows = slice(int(obs.first[player]), int(obs.first[player + 1]))
            slot, mask = obs.slot[rows].copy(), obs.mask[rows]
            told, said = asked.decide(game, env.rules, slot, mask)
            legal = said & allowed(mask, told)
            keeper.tally(told, said, legal)
            if wanted and rows.stop > rows.start:
                keeper.keep(obs, player, rows, told, legal & has_choice(mask))
                kept[-1][rows] = True
            follows = rng.random(len(slot)) >= (lesson.share if student is not None else 0.0)
            action[rows] = np.where(follows[:, None], told * legal[:, None], action[rows])  # what is not legal is a WAIT
            asked.watch(slot, action[rows])
        if rival is not None:
            rival.decide(env, generator, False, action)
        keeper.keys.append(obs.ident.copy())
        override = partial(_play_scripted, scripted, 1 - players[0], env.rules) if scripted is not None else None
        step = env.step(action, override)
        keeper.rewards.append(step.reward.copy())
        results = step.finished
    returns = returns_of(keeper.keys, keeper.rewards, config.gamma)
    return keeper.lessons(np.concatenate([r[k] for r, k in zip(returns, kept)]), outcome_of(results[0]), config.map_size)


def outcome_of(result: GameResult) -> np.ndarray:
    """[2, 4] int64: lichen, factories, robots, ice of each side."""
    return np.array([result.lichen, result.factories, result.robots, result.ice_got], np.int64).T


def _open(
    config: LessonConfig,
    teachers: dict[int, Teacher],
    scripted: ScriptedSide | None,
    rival: Rival | None,
    game: Any,
    rules: Any,
    p: int,
    orders: Any,
) -> None:
    """The opening of a side: a rival's is its own, the teacher's only if asked for; but every teacher sees it all."""
    if p not in teachers and scripted is not None:
        scripted.write_orders(game, rules, p, orders)
        return
    theirs = teachers[p].open(game, rules) if p in teachers else None
    if theirs is None or not config.teacher_places:
        actions = rival.agent.actions if rival is not None and p not in teachers else config.actions
        opening_of(actions)(game, rules, p, orders)
        return
    for name in _OPENING:
        orders[name][p] = theirs[name][p]


def _play_scripted(scripted: ScriptedSide, player: int, rules: Any, games: Any, orders: Any) -> None:
    """The scripted opponent's orders in place of its side's."""
    scripted.write_orders(games[0], rules, player, orders[0])


def store(path: Path, lessons: Lessons) -> None:
    """Write a lesson, whole or not at all."""
    from submission.files import write_whole

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **lessons._asdict())
    write_whole(path, buffer.getvalue())


def load(path: Path) -> Lessons:
    """A stored lesson. Raises `ValueError` if the file is none."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Lessons(**{name: stored[name] for name in Lessons._fields})
    except (OSError, KeyError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is no stored lesson ({error}); delete it, and it is made again.") from error


def make(config: LessonConfig, teacher: Make, opponent: Make | str | None, lesson: Lesson) -> Path:
    """Play and store a lesson that is not there yet; returns its path. For processes."""
    torch.set_num_threads(1)
    if not lesson.path.exists():
        store(lesson.path, play(config, lesson, teacher, opponent))
    return lesson.path


def account(many: Iterable[Lessons]) -> str:
    """What the lessons are, in lines for people: how the games went, and which decisions cannot be taught."""
    counts, outcomes, rows = np.zeros((3, KINDS), np.int64), [], 0
    for lessons in many:
        counts += lessons.count
        outcomes.append(lessons.outcome)
        rows += int(lessons.taught.sum())
    lichen, factories, robots, ice = np.mean(outcomes, axis=(0, 1))
    lines = [
        f"{len(outcomes)} lessons, {rows:,} decisions kept: {lichen:,.0f} lichen, {factories:.1f} factories, {robots:.0f} robots a side."
    ]
    lost = [
        f"{KIND_NAMES[k]} {(counts[1, k] + counts[2, k]) / counts[0, k]:.1%} of {counts[0, k]:,}"
        for k in range(WAIT, KINDS)
        if counts[1, k] + counts[2, k]
    ]
    return lines[0] + (f" Left out, as we cannot say or do it: {', '.join(lost)}." if lost else "")
