"""Which processes live in a folder, seen from outside: a bot's own process ids may be those of a namespace."""

from __future__ import annotations

import os
from pathlib import Path


def living(folder: Path) -> list[int]:
    """Processes whose current folder this is; children keep their parent's. Zombies have none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder.resolve()):
                found.append(int(process.name))
        except OSError:
            continue
    return found
