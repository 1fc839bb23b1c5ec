"""What verbs share in reading their options."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TypeVar

import tyro

from submission.files import check_file, write_whole

RUNS = Path("runs")
PROGRAM = "luxs2" if Path(sys.argv[0]).stem == "luxs2" else "main.py"  # as it was called
T = TypeVar("T")


class UsageError(Exception):
    """The command cannot be carried out as it was given; the message is a sentence for its user."""


def parse(kind: type[T], argv: list[str], verb: str, doc: str | None, **options: Any) -> T:
    """Read a verb's options into its dataclass; `doc` is the verb's help."""
    return tyro.cli(kind, args=argv, prog=f"{PROGRAM} {verb}", description=doc, **options)


def early(argv: list[str], flag: str, default: str) -> str:
    """The value of a flag that decides the defaults of all others."""
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(flag + "="):
            return word[len(flag) + 1 :]
    return default


def check_output(path: Path | None) -> None:
    """Make the folder of a file that is written after long work, and refuse a path that cannot be written before it."""
    if path is None:
        return
    check_file(path)
    folder = Path(os.path.realpath(path)).parent
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK) or path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"{path} cannot be written.")


def write_json(path: Path | None, values: Any) -> None:
    """Write values for programs, if a path was given."""
    if path is not None:
        write_whole(path, json.dumps(values, indent=2) + "\n")
