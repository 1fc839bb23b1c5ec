"""The results file: one JSON line a game, only ever added to, each line on disk before the next game counts.

A line that a kill cut short is dropped the next time the file is opened for writing. One tournament writes at a time.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FORMAT = 1


@dataclass(frozen=True)
class Game:
    """A finished game; pairs are (left, right), and left is player_0. Players are known by identity, names are for readers."""

    players: tuple[str, str]
    names: tuple[str, str]
    map_size: int
    seed: int
    referee: Literal["fast", "official"]
    winner: Literal["left", "right", "draw"]
    reason: str
    turns: int
    lichen: tuple[int, int]
    factories: tuple[int, int]
    errors: tuple[str | None, str | None]

    @property
    def key(self) -> tuple[int, int, str, str]:
        """What no tournament plays twice."""
        return (self.map_size, self.seed, *self.players)

    def score(self, side: int) -> float:
        """1, 0.5 or 0 for the left (0) or right (1) side."""
        return 0.5 if self.winner == "draw" else float(self.winner == ("left", "right")[side])

    def line(self) -> str:
        """As a line of the file."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, separators=(",", ":")) + "\n"


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("players", "names", "referee", "winner", "reason"), (str,)),
    **dict.fromkeys(("map_size", "seed", "turns", "lichen", "factories"), (int,)),
    "errors": (str, type(None)),
}
_PAIRS = ("players", "names", "lichen", "factories", "errors")


def read_game(text: str) -> Game:
    """The game of one line. Raises `ValueError` with what is wrong with it."""
    values = json.loads(text)
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(f"it is not a game of format {FORMAT}")
    fields = {field.name for field in dataclasses.fields(Game)}
    if set(values) != fields:
        raise ValueError(f"it has unknown or missing keys: {', '.join(sorted(set(values) ^ fields))}")
    for name in _PAIRS:
        if not isinstance(values[name], list) or len(values[name]) != 2:
            raise ValueError(f"{name} is not a pair")
        values[name] = tuple(values[name])
    for name, kinds in _KINDS.items():
        for value in values[name] if name in _PAIRS else (values[name],):
            if type(value) not in kinds or (isinstance(value, int) and abs(value) >= 1 << 53):
                raise ValueError(f"{name} is {values[name]!r:.100}")
    if values["winner"] not in ("left", "right", "draw"):
        raise ValueError(f"winner is {values['winner']!r:.100}")
    if values["referee"] not in ("fast", "official"):
        raise ValueError(f"referee is {values['referee']!r:.100}")
    return Game(**values)


class Results:
    """The games of a results file, each once, in the order of the file.

    Args:
        path: the file; it need not exist.
        write: open it for adding, alone.

    Raises `ValueError` for a file that is none of ours, or that somebody else is adding to.
    """

    def __init__(self, path: Path | str, write: bool = False) -> None:
        self.path = Path(path)
        self.games: list[Game] = []
        self._keys: set[tuple[int, int, str, str]] = set()
        self._file: Any = None
        if self.path.is_dir():
            raise ValueError(f"The results file {self.path} is a folder; name a file.")
        if write:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b")
            try:
                self._lock()
            except BaseException:
                self._file.close()
                raise
        whole = self._read()
        if write and whole < self.path.stat().st_size:
            self._file.truncate(whole)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"Another run is adding to {self.path}; wait for it, or name another file with --results.") from error
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # a new file's name, too, is to survive
        finally:
            os.close(folder)

    def _read(self) -> int:
        """Take in all whole lines; returns the bytes that they take."""
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                self._take(read_game(line.decode()))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"Line {number} of {self.path} cannot be read: {error}.") from error
        return whole

    def _take(self, game: Game) -> None:
        if game.key not in self._keys:
            self._keys.add(game.key)
            self.games.append(game)

    def __contains__(self, key: tuple[int, int, str, str]) -> bool:
        return key in self._keys

    def add(self, game: Game) -> None:
        """Put a game into the file; it is on disk when this returns."""
        self._file.write(game.line().encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._take(game)

    def close(self) -> None:
        """Let others add."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
