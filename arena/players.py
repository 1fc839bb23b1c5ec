"""Who plays: a built-in opponent, a tarball, a folder, a program or a checkpoint becomes a command to run in a folder.

Whatever cannot be played raises `ValueError` with a sentence. A `Player` may own a temporary folder: use it as a
context manager, or call `close`.
"""

from __future__ import annotations

import gzip
import os
import sys
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

from agent.scripted import FOLDER
from agent.scripted import names as opponent_names
from agent.stored import CONFIG, POINTERS, POLICY, WORDS, steps_of
from agent.tasks.heads import HEADS
from arena.scratch import Scratch

UNPACKED_LIMIT = 2 << 30  # bytes that a tarball may unpack to
MEMBER_LIMIT = 20_000
HEADERS_LIMIT = 64 << 20  # bytes of a tarball that are no file's
DEPTH_LIMIT = 100  # folders in each other
READ_LIMIT = 2 << 20  # bytes read at once: of a file's part, or of a header, which tarfile reads whole whatever size it claims


@dataclass
class Player:
    """A program of the judge's stand-alone protocol: `command`, run in `folder`; `name` is what the user called it."""

    name: str
    command: list[str]
    folder: Path
    sandboxed: bool = False
    temporary: Scratch | None = field(default=None, repr=False)

    def close(self) -> None:
        """Remove the temporary folder, if there is one."""
        if self.temporary is not None:
            self.temporary.close()
            self.temporary = None

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_player(player: Player | Path | str, sandbox: bool = False) -> Player:
    """The program that a player argument means; a `Player` is handed through. With `sandbox`, a program that is none of ours runs in one.

    Accepted: the name of a built-in opponent; a `.tasks.npz` of learned heads; a `.tar.gz` with `main.py` at its top; a folder with
    `main.py`; a `.py` file or an executable; a checkpoint or run folder, `latest`, or `shipped` (packaged on the spot). A folder or file
    of the same name as an opponent is meant with `./` before it.
    """
    if isinstance(player, Player):
        return player
    name = str(player)
    if name in opponent_names():
        return _program(name, FOLDER / name / "main.py")
    path = Path(player)
    if name in WORDS and not path.exists():
        return _packaged(name)
    if not path.exists():
        raise ValueError(
            f"Player {name!r} does not exist; accepted are a built-in opponent ({', '.join(opponent_names())}), a .tar.gz, "
            "a folder with main.py, a main.py, a .tasks.npz, a checkpoint or run folder, latest, and shipped."
        )
    if path.is_dir():
        if (path / "main.py").is_file():
            return _program(name, path / "main.py", sandbox)
        if any((path / name).exists() for name in (CONFIG, POLICY, *POINTERS)) or steps_of(path):
            return _packaged(name)
        raise ValueError(f"Folder {path} is no player: it has no main.py, and it is no checkpoint or run folder.")
    if path.name.endswith(HEADS):
        player = _program(name, FOLDER / "marshal" / "main.py")
        return Player(name, [*player.command, str(path.resolve())], player.folder)
    if path.name.endswith((".tar.gz", ".tgz")):
        return _unpacked(name, path, sandbox)
    if path.suffix == ".py" or os.access(path, os.X_OK):
        return _program(name, path, sandbox)
    if path.name in ("best", "latest"):
        return _packaged(name)
    raise ValueError(f"File {path} is no player; accepted are a .tar.gz, a .tasks.npz, a .py file and an executable.")


def is_program(name: str) -> bool:
    """Whether a player argument means a program that is neither built in nor a checkpoint: a tarball, a folder with `main.py`, a file."""
    path = Path(name)
    if name in opponent_names() or path.name in POINTERS or name.endswith(HEADS):
        return False
    return path.is_file() or (path / "main.py").is_file()


def _program(name: str, path: Path, sandbox: bool = False) -> Player:
    path = path.resolve()
    command = [sys.executable, path.name] if path.suffix == ".py" else [str(path)]
    return Player(name, command, path.parent, sandbox)


def _packaged(name: str) -> Player:
    from submission.package import package  # brings torch, which takes a second and is needed for checkpoints only

    with Scratch("package") as folder:
        tarball = folder / "submission.tar.gz"
        package(name, tarball)
        return _unpacked(name, tarball)


def _unpacked(name: str, tarball: Path, sandbox: bool = False) -> Player:
    temporary = Scratch("player")
    try:
        folder = temporary.path
        extract(tarball, folder)
        if not (folder / "main.py").is_file():
            inside = [str(path.relative_to(folder)) for path in sorted(folder.rglob("main.py"))]
            hint = f" (there is one at {inside[0]})" if inside else ""
            raise ValueError(f"{tarball} has no main.py at its top{hint}; the judge needs it there.")
        player = _program(name, folder / "main.py", sandbox)
    except BaseException:
        temporary.close()
        raise
    player.temporary = temporary
    return player


class _TooLarge(Exception):
    """A tarball is larger than it may be; the message goes on after its name."""


class _Reader:
    """What `tarfile` reads from: it gets no more at once, and none from further behind, than an honest tarball has."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= READ_LIMIT:
            raise _TooLarge(f"has a header of {size} bytes; at most {READ_LIMIT} are read")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        if position > UNPACKED_LIMIT + HEADERS_LIMIT:
            raise _TooLarge(f"unpacks to more than {UNPACKED_LIMIT >> 20} MiB")
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


def extract(tarball: Path, folder: Path) -> None:
    """Unpack a tar.gz into an existing folder: plain files and folders inside it, nothing else.

    Raises `ValueError` for a damaged file, for members that would land outside of `folder`, for links and devices, and
    for one that unpacks to more than `UNPACKED_LIMIT` bytes.
    """
    total = 0
    try:
        with gzip.open(tarball) as plain, tarfile.open(fileobj=cast(IO[bytes], _Reader(plain)), mode="r:") as tar:
            for count, member in enumerate(tar):
                parts = [part for part in PurePosixPath(member.name).parts if part != "."]
                if member.name.startswith("/") or ".." in parts or "\\" in member.name or "\0" in member.name:
                    raise ValueError(f"{tarball} has the member {member.name!r}, which would be unpacked outside of its folder.")
                if len(parts) > DEPTH_LIMIT:
                    raise ValueError(f"{tarball} has a member in {len(parts)} folders; at most {DEPTH_LIMIT} are unpacked.")
                if not (member.isfile() or member.isdir()):
                    raise ValueError(f"{tarball} has the member {member.name!r}, which is neither a file nor a folder.")
                total += abs(member.size)  # some headers claim less than nothing
                if total > UNPACKED_LIMIT or count >= MEMBER_LIMIT:
                    raise ValueError(f"{tarball} unpacks to more than {UNPACKED_LIMIT >> 20} MiB or {MEMBER_LIMIT} files.")
                target = folder.joinpath(*parts)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None  # it is a plain file
                with source, open(target, "wb") as file:
                    while chunk := source.read(1 << 20):
                        file.write(chunk)
                target.chmod(0o755 if member.mode & 0o100 else 0o644)
    except _TooLarge as error:
        raise ValueError(f"{tarball} {error}.") from error
    except RecursionError as error:
        raise ValueError(f"{tarball} is not a whole tar.gz: its headers follow each other without a member.") from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{tarball} is not a whole tar.gz: {error}.") from error
    except OSError as error:
        raise ValueError(f"{tarball} cannot be unpacked: {error.strerror or error}.") from error
