"""The match runner: the official engine as the referee, each side a separate process of the judge's protocol.

Whatever a side does wrong (crash, hang, junk, an action that the engine refuses) loses its match with the reason in
the result; nothing it does can hang the runner, and no process of its group outlives the match.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from agent.scripted.protocol import plain
from arena.players import Player, open_player
from arena.process import BotProcess, Failure, exchange, printable
from arena.replay import write_replay
from arena.sandbox import check as check_sandbox
from arena.sandbox import wrapped
from arena.scratch import Scratch
from submission.thoughts import VARIABLE, read_thoughts

SIDES = ("left", "right")
PLAYERS = ("player_0", "player_1")  # left is player_0
FACTORIES = {48: (2, 5), 64: (4, 10)}  # factories a side by map size, in the editions of the competition
SMALLEST, LARGEST = 12, 64
LOST = -1000  # the official reward of a side that failed
NO_FACTORIES = "lost all factories"
MEMORY_LIMIT = 4096.0  # MiB a side; the judge's is not known


@dataclass
class SideResult:
    """How one side did; times are of its answers, in milliseconds, `memory_mib` is its peak, known after the match."""

    name: str
    lichen: int = 0
    factories: int = 0
    robots: int = 0
    error: str | None = None
    turn_ms_median: float = 0.0
    turn_ms_p99: float = 0.0
    turn_ms_max: float = 0.0
    overage_left: float = 0.0
    memory_mib: float = 0.0
    log: str | None = None


@dataclass
class MatchResult:
    """`turns` are those after the opening, 0 if it ended earlier; `reason` is a sentence."""

    winner: Literal["left", "right", "draw"]
    reason: str
    turns: int
    seed: int
    map_size: int
    left: SideResult
    right: SideResult
    seconds: float = 0.0
    replay: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)


def env_settings(map_size: int) -> dict[str, Any]:
    """Keyword arguments of the official `LuxAI_S2` for a map size. Raises `ValueError` outside 12 to 64."""
    if not SMALLEST <= map_size <= LARGEST:
        raise ValueError(f"The map size is {map_size}; accepted are {SMALLEST} to {LARGEST} (the competition plays 48 and 64).")
    low, high = FACTORIES.get(map_size, FACTORIES[48] if map_size < 56 else FACTORIES[64])
    return {"map_size": map_size, "MIN_FACTORIES": low, "MAX_FACTORIES": high}


def play_match(
    left: Player | Path | str,
    right: Player | Path | str,
    seed: int,
    map_size: int = 48,
    replay: Path | str | None = None,
    time_per_turn: float = 3.0,
    overage: float = 60.0,
    log_dir: Path | str | None = None,
    progress: Callable[[int, dict[str, SideResult]], None] | None = None,
    record_thoughts: bool = False,
    memory_limit: float | None = MEMORY_LIMIT,
    sandbox: bool = False,
) -> MatchResult:
    """Play one match and say who won.

    Args:
        left, right: player arguments (`arena.players.open_player`); left is player_0.
        seed: of the map; the same seed gives the same map.
        map_size: 48 has 2-5 factories a side, 64 has 4-10; 12 to 64 are accepted.
        replay: where to write the replay; gzip when the name ends in `.gz`.
        time_per_turn, overage: seconds for an answer, and the pool for a match that longer answers are paid from.
        log_dir: folder for `left.log` and `right.log`, the sides' stderr (at most 4 MiB each).
        progress: called after every turn with the turn and both sides so far.
        record_thoughts: put what checkpoints think of their entities into the replay (`submission.thoughts`).
        memory_limit: the most MiB that a side, with all that it starts, may have in memory.
        sandbox: run programs that are none of ours in one (`arena.sandbox`).

    Raises `ValueError` for a player, map size, seed or path that cannot be used, or without a sandbox, before anything is started.
    """
    settings = env_settings(map_size)
    if not 0 <= seed < 2**32:
        raise ValueError(f"The seed is {seed}; accepted are 0 to {2**32 - 1}.")
    if log_dir is not None:
        _check_folder(Path(log_dir))
    if replay is not None:
        _check_folder(Path(replay).parent)
        if Path(replay).is_dir():
            raise ValueError(f"The replay {replay} is a folder; name a file.")
    if record_thoughts and replay is None:
        raise ValueError("Thoughts are recorded in a replay, and none is to be written; name its file.")
    if sandbox:
        check_sandbox()
    started = time.perf_counter()
    thoughts: dict[str, list[Any]] | None = None
    with ExitStack() as stack:
        # a folder each, so that no side is told where the other one writes
        folders = {player: str(stack.enter_context(Scratch("thoughts"))) for player in PLAYERS} if record_thoughts else {}
        players = []
        for player in (left, right):
            opened = open_player(player, sandbox)
            if opened is not player:
                stack.callback(opened.close)
            players.append(opened)
        match = Match(Referee(seed, settings), [player.name for player in players])
        match.start(stack, players, Path(log_dir) if log_dir is not None else None, time_per_turn, overage, folders, memory_limit)
        while not match.over:
            match.play_turn()
            if progress is not None:
                progress(match.referee.turns, match.standing())
        if record_thoughts:
            for bot in match.bots.values():
                bot.close()  # else it could go on writing while it is read
            thoughts = {player: read_thoughts(folders[player], player) for player in PLAYERS}
    result = match.result(seed, map_size)
    if replay is not None:
        metadata = {"seed": seed, "players": dict(zip(PLAYERS, match.names)), "winner": result.winner, "reason": result.reason}
        result.replay = str(write_replay(replay, match.observations, match.actions, metadata, match.referee.env_cfg, thoughts))
    result.seconds = time.perf_counter() - started
    return result


def _check_folder(folder: Path) -> None:
    """Make a folder for output. Raises `ValueError` if that, or writing there, is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"Nothing can be written to the folder {folder}.")


@dataclass
class Referee:
    """The official engine at one seed: observations as JSON text, a turn, and what it holds against a side."""

    seed: int
    settings: dict[str, Any]
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import luxai_s2.env as official

        # the engine prints the traceback of every malformed action; stdout is the caller's
        official.print = _silent  # type: ignore[attr-defined]
        self.env = official.LuxAI_S2(**self.settings)
        self.env.log_error = lambda *words: self.complaints.append(" ".join(str(word) for word in words))
        self.env.reset(seed=self.seed)
        self.env_cfg: dict[str, Any] = plain(dataclasses.asdict(self.env.state.env_cfg))
        self._previous = self.env.state.get_compressed_obs()
        self.observation = json.dumps(plain(self._previous))
        self.rewards: dict[str, Any] = dict.fromkeys(PLAYERS, 0)
        self.done = False

    @property
    def step(self) -> int:
        """Turns played, the opening included."""
        return self.env.env_steps

    @property
    def turns(self) -> int:
        """Turns played after the opening."""
        return max(self.env.state.real_env_steps, 0)

    def play(self, actions: dict[str, dict[str, Any]]) -> dict[str, Failure]:
        """One turn. Returns the sides that the engine failed for what they sent."""
        self.complaints.clear()
        opening = self.env.state.real_env_steps < 0
        failures: dict[str, Failure] = {}
        ready: dict[str, Any] = {}
        for player, action in actions.items():
            try:
                ready[player] = {key: np.array(value) if isinstance(value, list) else value for key, value in action.items()}
                if opening:
                    self._check_spawn(action)
                elif self._unreadable(player, ready[player]):
                    raise ValueError("an order for a robot is not a list of actions")
            except (ValueError, TypeError, OverflowError) as error:  # ragged lists, for instance
                failures[player] = Failure(f"sent an invalid action: {error}")
        if failures:
            self.done = True
            return failures
        try:
            news, self.rewards, ends, _, _ = self.env.step(ready)
        except Exception as error:  # noqa: BLE001 whatever the engine stumbles over ends this match, and no tournament
            self.done = True
            return {player: Failure(f"sent actions that the official engine cannot play ({error!r})") for player in PLAYERS}
        self.done = any(ends.values())
        self.observation = json.dumps(plain(self.env.state.get_change_obs(self._previous)))
        self._previous = news[PLAYERS[0]]
        for player, reward in self.rewards.items():
            if reward == LOST and (opening or self.env.state.factories[player]):
                failures[player] = Failure(self._invalid(player, opening))
        return failures

    def _check_spawn(self, action: dict[str, Any]) -> None:
        """The engine reads a negative position from the far end of the map, and cannot play such a factory."""
        spawn = action.get("spawn")
        if isinstance(spawn, list) and any(isinstance(place, (int, float)) and place < 0 for place in spawn):
            raise ValueError(f"the spawn {spawn} is off the map")

    def _unreadable(self, player: str, action: dict[str, Any]) -> bool:
        """Orders for robots that make the engine itself stumble: a queue must be iterable and no word."""
        return any(name in self.env.state.units[player] and not isinstance(queue, np.ndarray) for name, queue in action.items())

    def _invalid(self, player: str, opening: bool) -> str:
        name = f"[Player {PLAYERS.index(player)}]"
        said = [line.split("given. ", 1)[-1] for line in self.complaints if name in line or line.startswith(player)]
        if opening and not said and player not in self.env.state.teams:
            return "sent no bid"
        return " ".join(f"sent an invalid action{': ' + said[0] if said else ''}".split())[:300]

    def side(self, player: str) -> tuple[int, int, int]:
        """Lichen (that of dead factories included), factories and robots of a side."""
        state = self.env.state
        team = state.teams.get(player)
        strains = team.factory_strains if team is not None else []
        lichen = int(state.board.lichen[np.isin(state.board.lichen_strains, strains)].sum())
        return lichen, len(state.factories[player]), len(state.units[player])


def _silent(*_: object, **__: object) -> None:
    """In place of the official engine's `print`."""


class Match:
    """A running match: the referee, the two processes, and what has been recorded."""

    def __init__(self, referee: Referee, names: list[str]) -> None:
        self.referee = referee
        self.names = names
        self.bots: dict[str, BotProcess] = {}
        self.logs: dict[str, Path | None] = dict.fromkeys(PLAYERS)
        self.failures: dict[str, Failure] = {}
        self.observations = [referee.observation]
        self.actions: list[str] = []

    @property
    def over(self) -> bool:
        return self.referee.done or bool(self.failures)

    def start(
        self,
        stack: ExitStack,
        players: list[Player],
        log_dir: Path | None,
        time_per_turn: float,
        overage: float,
        thoughts: dict[str, str] | None = None,
        memory_limit: float | None = None,
    ) -> None:
        """Start both processes; `stack` ends them. Each is told its folder for `thoughts`, if there is one."""
        for side, name, player in zip(SIDES, PLAYERS, players):
            log = log_dir / f"{side}.log" if log_dir is not None else None
            environment = {VARIABLE: thoughts[name]} if thoughts else {}
            command = wrapped(player.command, player.folder, environment.values()) if player.sandboxed else player.command
            try:
                bot = BotProcess(command, player.folder, log, time_per_turn, overage, environment, memory_limit)
            except Failure as failure:
                self.failures[name] = failure
                continue
            stack.callback(bot.close)
            self.bots[name], self.logs[name] = bot, log

    def play_turn(self) -> None:
        """Ask both sides at the same time, then let the referee judge."""
        messages = [self.message(player) for player in PLAYERS]
        actions: dict[str, dict[str, Any]] = {}
        for player, answer in zip(PLAYERS, exchange([self.bots[player] for player in PLAYERS], messages)):
            try:
                actions[player] = read_action(answer)
            except Failure as failure:
                self.failures[player] = failure
        if self.failures:
            return
        action_text = json.dumps(actions)
        self.failures.update(self.referee.play(actions))
        if len(self.observations) < self.referee.step + 1:  # the referee took the turn
            self.actions.append(action_text)
            self.observations.append(self.referee.observation)

    def message(self, player: str) -> bytes:
        """The line that the judge sends this side now."""
        referee = self.referee
        info = {"env_cfg": referee.env_cfg} if referee.step == 0 else {}
        rest = {
            "step": referee.step,
            "remainingOverageTime": self.bots[player].overage,
            "player": player,
            "reward": float(referee.rewards[player]),
            "info": info,
        }
        return f'{{"obs": {referee.observation}, {json.dumps(rest)[1:]}\n'.encode()

    def standing(self) -> dict[str, SideResult]:
        """Both sides as they are now."""
        sides = {}
        for side, name, player in zip(SIDES, self.names, PLAYERS):
            lichen, factories, robots = self.referee.side(player)
            failure = self.failures.get(player)
            log = self.logs[player]
            result = SideResult(name, lichen, factories, robots, str(failure) if failure else None, log=str(log) if log else None)
            bot = self.bots.get(player)
            if bot is not None:
                result.overage_left = round(bot.overage, 3)
                result.memory_mib = round(bot.peak_memory, 1)
                times = sorted(bot.answer_time)
                if times:
                    result.turn_ms_median = round(1000 * statistics.median(times), 2)
                    result.turn_ms_p99 = round(1000 * times[math.ceil(0.99 * len(times)) - 1], 2)
                    result.turn_ms_max = round(1000 * times[-1], 2)
            sides[side] = result
        return sides

    def result(self, seed: int, map_size: int) -> MatchResult:
        """The verdict: a side that failed loses, else the official reward (own lichen) decides."""
        sides = self.standing()
        left, right = sides["left"], sides["right"]
        for side, player in zip(SIDES, PLAYERS):
            if player not in self.failures and self.referee.rewards[player] == LOST:
                sides[side].error = NO_FACTORIES
        lost = [side for side in SIDES if sides[side].error is not None]
        winner: Literal["left", "right", "draw"]
        if lost:
            winner = "draw" if len(lost) == 2 else "right" if lost == ["left"] else "left"
            reason = " and ".join(f"{side} {sides[side].error}" for side in lost) + "."
        else:
            winner = "draw" if left.lichen == right.lichen else "left" if left.lichen > right.lichen else "right"
            comparison = "the same lichen" if winner == "draw" else "more lichen"
            who = "both sides have" if winner == "draw" else f"{winner} has"
            reason = f"The match is over and {who} {comparison} ({left.lichen} : {right.lichen})."
        return MatchResult(winner, reason, self.referee.turns, seed, map_size, left, right)


def read_action(answer: bytes | Failure) -> dict[str, Any]:
    """The action of one answer. Raises `Failure`."""
    if isinstance(answer, Failure):
        raise answer
    try:
        action = json.loads(answer.decode())
    except (ValueError, RecursionError) as error:
        shown = printable(answer[:480].decode("utf-8", "replace"), 120).strip()
        raise Failure(f"printed junk instead of a JSON object: {shown!r}") from error
    if not isinstance(action, dict):
        raise Failure(f"answered with a JSON {type(action).__name__} where an object is needed")
    return action
