"""Who is rated: a player argument becomes an entrant with an identity that changes when the player does.

The identity is a digest of what decides how the player plays: a checkpoint's weights and what it is offered to do; the
bytes of a tarball, script or executable; all files of a folder but logs and Python's own; the code of a built-in opponent.
A checkpoint is copied when it enters, so a training that goes on meanwhile cannot change who plays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.scripted import FOLDER
from agent.scripted import names as opponent_names
from agent.stored import WORDS, copy_for_play, load_agent
from agent.tasks.heads import HEADS
from arena.players import Player, open_player
from arena.scratch import Scratch
from submission.package import collect_modules, own_parts

DIGITS = 12  # hexadecimal digits of an identity
NO_PART = {".pyc", ".log"}  # files that do not decide how a program plays


@dataclass(frozen=True)
class Entrant:
    """A player of a tournament. `source` is the built-in's name, or where the files are, for as long as the field is open."""

    name: str
    ident: str
    kind: Literal["opponent", "checkpoint", "program"]
    source: str

    @property
    def in_process(self) -> bool:
        """Whether the fast arena can play it."""
        return self.kind != "program"


class Field:
    """The entrants of a tournament, and the programs that they are for the official referee.

    Use it as a context manager: copies of checkpoints and unpacked tarballs are removed at its end. Raises `ValueError`
    for an argument that is no player, and for one player under two names. With `sandbox`, programs run in one (`arena.sandbox`).
    """

    def __init__(self, arguments: Sequence[str], sandbox: bool = False) -> None:
        self.sandbox = sandbox
        self._stack = ExitStack()
        self._programs: dict[str, Player] = {}
        self.entrants: list[Entrant] = []
        try:
            self.folder = self._stack.enter_context(Scratch("rating"))
            for argument in arguments:
                self._add(argument)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _add(self, argument: str) -> None:
        entrant = self._entrant(argument)
        for other in self.entrants:
            if other.ident == entrant.ident:
                raise ValueError(f"{other.name} and {entrant.name} are the same player; name each player once.")
            if other.name == entrant.name:
                raise ValueError(f"Two players are called {entrant.name!r}; name each player once.")
        self.entrants.append(entrant)

    def _entrant(self, argument: str) -> Entrant:
        if argument in opponent_names():
            modules = collect_modules((f"agent.scripted.{argument}.main",))
            code = sorted((name, text.encode()) for name, text in modules.items() if name.startswith("agent/"))
            data = files_under(FOLDER / argument, (path for path in (FOLDER / argument).iterdir() if path.suffix != ".py"))
            return Entrant(argument, digest("opponent", [*code, *data]), "opponent", argument)
        path = Path(argument)
        if argument.endswith(HEADS) and path.is_file():
            built_in_code = self._entrant("warden").ident.encode()
            return Entrant(argument, digest("opponent", [("rule", built_in_code), ("heads", path.read_bytes())]), "opponent", argument)
        is_run = path.is_dir() and not (path / "main.py").is_file()
        pointer = path.name in ("latest", "best") and not path.is_dir() and path.parent.is_dir()
        if is_run or pointer or (argument in WORDS and not path.exists()):
            return self._checkpoint(argument)
        self._programs[argument] = self._stack.enter_context(open_player(argument, self.sandbox))
        parts = files_under(path, path.rglob("*")) if path.is_dir() else [("", path.read_bytes())]
        return Entrant(argument, digest("program", parts), "program", argument)

    def _checkpoint(self, argument: str) -> Entrant:
        _, _, stored = load_agent(argument)
        state = sorted(stored.policy_state.items())
        parts = [(name, f"{tensor.dtype} {list(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes()) for name, tensor in state]
        parts += [(f"own {path}", text.encode()) for path, text in own_parts(stored.config["policy"])[0].items()]
        played = {key: stored.config[key] for key in ("policy", "actions")}
        ident = digest("checkpoint", [*parts, ("config", json.dumps(played, sort_keys=True).encode())])
        folder = self.folder / ident.replace(":", "-")
        if not folder.exists():  # else it is named twice, which is told later
            copy_for_play(stored.folder, folder)
        return Entrant(str(stored.folder) if argument == "latest" else argument, ident, "checkpoint", str(folder))

    def program(self, entrant: Entrant) -> Player:
        """The entrant as a program of the judge's protocol; a checkpoint is packaged the first time."""
        if entrant.name not in self._programs:
            self._programs[entrant.name] = self._stack.enter_context(open_player(entrant.source))
        opened = self._programs[entrant.name]
        return Player(entrant.name, opened.command, opened.folder, opened.sandboxed)  # the temporary folder stays ours


def files_under(folder: Path, paths: Iterable[Path]) -> list[tuple[str, bytes]]:
    """(name below `folder`, contents) of these paths, as far as they are files that decide how a program plays."""
    kept = [path for path in paths if path.is_file() and path.suffix not in NO_PART and "__pycache__" not in path.parts]
    return sorted((str(path.relative_to(folder)), path.read_bytes()) for path in kept)


def digest(kind: str, parts: Sequence[tuple[str, bytes]]) -> str:
    """`kind:` and the beginning of the SHA-256 of named contents."""
    total = hashlib.sha256()
    for name, content in parts:
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"{kind}:{total.hexdigest()[:DIGITS]}"
