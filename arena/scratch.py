"""Temporary folders that programs of other people write to; their removal never costs the result."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NAME = "luxs2-"  # how the names of all of them begin
YOUNG = 60.0  # seconds: it may not be locked yet


class Scratch:
    """A temporary folder at `path`, removed by `close` or at the end of a `with`, however deep what is in it; raises nothing then.

    It is locked while its process lives, and whoever makes one removes those that killed processes have left.
    """

    def __init__(self, what: str) -> None:
        clear_away()
        self.path = Path(tempfile.mkdtemp(prefix=f"{NAME}{what}-"))
        self._lock = os.open(self.path, os.O_RDONLY)
        _locked(self._lock)

    def close(self) -> None:
        """Remove it, as far as that is possible. Safe to call twice."""
        _remove(self.path)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def clear_away() -> None:
    """Remove the folders of processes that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{NAME}*-*"):
        try:
            facts = path.lstat()
            if not path.is_dir() or path.is_symlink() or facts.st_uid != os.getuid() or time.time() - facts.st_mtime < YOUNG:
                continue
            folder = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:  # gone in the meantime, or not ours to open
            continue
        try:
            if _locked(folder):
                _remove(path)
        finally:
            os.close(folder)


def _locked(folder: int) -> bool:
    """Lock an open folder; whether that was possible."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path, ignore_errors=True)
    except RecursionError:  # Python before 3.13 goes down by calling itself
        subprocess.run(["rm", "-rf", "--", str(path)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
