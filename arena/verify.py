"""Verifies a package: whole games on both sides, executed the way the judge executes it, in an interpreter that has only
numpy and torch (`arena.judged`), with the official engine as the referee and the judge's time rules.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arena.match import MEMORY_LIMIT, SideResult, play_match
from arena.players import Player, extract
from arena.scratch import Scratch
from submission.files import write_whole
from submission.package import SIZE_LIMIT, PackageReport, package

JUDGED = Path(__file__).resolve().with_name("judged.py")
LIBRARIES = ("numpy", "torch")


@dataclass(frozen=True)
class Limits:
    """What a package must keep to: the judge's rules, and a bound on memory, of which the judge says nothing."""

    size_bytes: int = SIZE_LIMIT
    turn_s: float = 3.0
    """Seconds a turn, which 99 % of the turns must keep."""
    overage_s: float = 60.0
    """Seconds for a match, from which importing and long turns are paid."""
    memory_mib: float = MEMORY_LIMIT


@dataclass(frozen=True)
class Game:
    """A game to play: against a built-in opponent, on a side, on a map."""

    opponent: str
    side: str
    map_size: int
    seed: int = 0


GAMES = (Game("miner", "left", 48), Game("farmer", "right", 64))


@dataclass(frozen=True)
class Verification:
    """What was measured; times are the package's own, of the slowest game (import, first turn) or of all turns but the first ones."""

    games: list[str]
    import_s: float
    first_turn_s: float
    turn_ms_median: float
    turn_ms_p99: float
    turn_ms_max: float
    overage_left_s: float
    memory_mib: float

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        return [
            *(f"verified      {game}" for game in self.games),
            f"start         import {self.import_s:.2f} s, first turn {self.first_turn_s:.2f} s",
            f"turn          median {self.turn_ms_median:.1f} ms, p99 {self.turn_ms_p99:.1f} ms, longest {self.turn_ms_max:.1f} ms",
            f"left at end   {self.overage_left_s:.1f} s of overage; peak memory {self.memory_mib:.0f} MiB",
        ]


def verified_package(
    checkpoint: Path | str,
    output: Path | str = "submission.tar.gz",
    greedy: bool = False,
    progress: Callable[[str, int], None] | None = None,
    limits: Limits | None = None,
    games: Sequence[Game] = GAMES,
) -> tuple[PackageReport, Verification]:
    """`package`, but what cannot be verified is not written. Raises `ValueError` with the reason."""
    with Scratch("verify") as folder:
        made = folder / Path(output).name
        report = package(checkpoint, made, greedy)
        verification = verify(made, limits, games, progress)
        write_whole(Path(output), made.read_bytes())
    return PackageReport(**{**report.as_dict(), "path": str(output)}), verification


def verify(
    tarball: Path | str,
    limits: Limits | None = None,
    games: Sequence[Game] = GAMES,
    progress: Callable[[str, int], None] | None = None,
) -> Verification:
    """Play the games and measure; `progress` gets each turn with a title of the game.

    Raises `ValueError` with the reason for a package that loses a game by its own fault, breaks a limit, meets an internal
    error or tries to use the network. To lose on the board is no fault.
    """
    tarball = Path(tarball)
    limits = limits or Limits()
    if tarball.stat().st_size > limits.size_bytes:
        raise ValueError(f"{tarball} has {tarball.stat().st_size} bytes; the judge accepts at most {limits.size_bytes}.")
    turns: list[list[dict[str, Any]]] = []
    sides: list[SideResult] = []
    titles: list[str] = []
    with Scratch("judge") as root:
        (root / "agent").mkdir()
        extract(tarball, root / "agent")
        if not (root / "agent" / "main.py").is_file():
            raise ValueError(f"{tarball} has no main.py at its top; the judge needs it there.")
        link_libraries(root / "libraries")
        for game in games:
            title = f"{game.side} against {game.opponent} on {game.map_size}x{game.map_size}"
            side, notes, turn = _play(root, game, limits, lambda turn, title=title: progress(title, turn) if progress else None)
            measured = [note for note in notes if "network" not in note]
            network = next((note["network"] for note in notes if "network" in note), None)
            _check(side, measured, network, limits, title, _first_error(root / f"{game.side}.log"))
            turns.append(measured)
            sides.append(side)
            titles.append(f"{title}: {turn} turns, {side.lichen} lichen, {side.error or 'alive'}")
    times = sorted(turn["turn_s"] for game in turns for turn in game[1:])
    verification = Verification(
        titles,
        round(max(game[0]["import_s"] for game in turns), 2),
        round(max(game[0]["turn_s"] for game in turns), 3),
        round(1000 * statistics.median(times), 2),
        round(1000 * times[math.ceil(0.99 * len(times)) - 1], 2),
        round(1000 * times[-1], 2),
        min(side.overage_left for side in sides),
        max(side.memory_mib for side in sides),
    )
    if verification.turn_ms_p99 > 1000 * limits.turn_s:
        raise ValueError(f"1 % of the turns take over {verification.turn_ms_p99 / 1000:.1f} s; the judge gives {limits.turn_s:g} s a turn.")
    return verification


def _play(root: Path, game: Game, limits: Limits, progress: Callable[[int], None]) -> tuple[SideResult, list[dict[str, Any]], int]:
    """The package's side of a game, what was noted about it, and the turns of the game."""
    elsewhere = Path(tempfile.mkdtemp(prefix="elsewhere-", dir=root))
    notes = root / f"{elsewhere.name}.jsonl"
    notes.touch()
    name = next((path.parents[1].name for path in sorted((root / "agent").glob("*/submission/entry.py"))), "")
    arguments = [str(root / "agent"), str(root / "libraries"), str(notes), name]
    player = Player("package", [sys.executable, "-I", "-S", str(JUDGED), *arguments], elsewhere)
    result = play_match(
        *((player, game.opponent) if game.side == "left" else (game.opponent, player)),
        seed=game.seed,
        map_size=game.map_size,
        time_per_turn=limits.turn_s,
        overage=limits.overage_s,
        memory_limit=limits.memory_mib,
        log_dir=root,
        progress=lambda turn, _: progress(turn),
    )
    noted = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    return (result.left if game.side == "left" else result.right), noted, result.turns


def _check(side: SideResult, measured: list[dict[str, Any]], network: str | None, limits: Limits, title: str, said: str) -> None:
    """Raises `ValueError` with what went wrong in a game."""
    where = f"The package, playing {title}, "
    errors = measured[-1]["errors"] if measured else 0
    if network:
        raise ValueError(f"{where}tried to use the network ({network}); the judge has none.")
    if errors:
        raise ValueError(f"{where}met internal errors, each of which costs a turn ({errors} of them): {said}.")
    if side.error not in (None, "lost all factories"):
        raise ValueError(f"{where}{side.error}.")
    if len(measured) < 2:
        raise ValueError(f"{where}was not asked for a second turn, since its opponent failed.")
    if side.memory_mib > limits.memory_mib:  # a peak between two looks of the guard
        raise ValueError(f"{where}took {side.memory_mib:.0f} MiB of memory; {limits.memory_mib:g} MiB are allowed.")


def _first_error(log: Path) -> str:
    """The last line of the first traceback in a log, or nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Traceback ")), len(lines))
    return next((line for line in lines[start + 1 :] if line and not line.startswith(" ")), "")


def link_libraries(folder: Path, names: Sequence[str] = LIBRARIES) -> None:
    """Make a folder for `sys.path` in which nothing can be found but these installed libraries and what they need."""
    folder.mkdir()
    waiting = list(names)
    seen: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            library = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            if wanted in names:
                raise ValueError(f"{wanted} is not installed with its metadata, so that a package cannot be verified.") from error
            continue  # of another platform or Python
        for top in {file.parts[0] for file in library.files or []}:
            place = Path(str(library.locate_file(top)))
            if top not in ("..", "__pycache__") and not top.endswith(".pth") and not (folder / top).exists() and place.exists():
                os.symlink(place.resolve(), folder / top)
        needs = [need for need in library.requires or [] if "extra ==" not in need]
        waiting += [found.group() for need in needs if (found := re.match(r"[A-Za-z0-9._-]+", need))]
