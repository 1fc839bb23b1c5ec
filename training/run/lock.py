"""One writer a run folder: who has it holds a lock, which the system takes back however the process ends."""

from __future__ import annotations

import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = ".lock"


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Have the run folder, which is made if need be, to oneself. Raises `ValueError` that names the process that has it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / FILE, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ValueError(f"{run_dir} is in use by process {holder}; let it end, or name another run folder.") from error
        except OSError as error:  # a file system without locks
            warnings.warn(f"{run_dir} cannot be locked ({error.strerror}); let no other process write to it.", stacklevel=3)
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
