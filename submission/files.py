"""Files that are whole or not there, whenever the process is killed."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes | str) -> None:
    """Write bytes or text (UTF-8) under a temporary name, flush to disk and rename. A symbolic link stays one: its target is written.

    Raises `ValueError` where that is impossible, and for what is there and is no file (a folder, a device).
    """
    path = Path(os.path.realpath(path))
    check_file(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror or error}.") from error


def check_file(path: Path) -> None:
    """Raises `ValueError` if there is something of that name that is no file."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'no file'}; name a file to write.")
