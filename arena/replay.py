"""Replays in the official runner's layout: JSON, gzip when the name ends in `.gz`, written whole or not at all.

`observations[0]` is the whole first observation, `observations[t + 1]` what changed by `actions[t]` (the judge's delta
format, which keeps files small); `env_cfg` and `metadata.seed` are enough to play the match again on the official
engine. `thoughts` are there if somebody asked for them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submission.files import write_whole

UNPACKED_LIMIT = 512 << 20  # bytes of a replay


def write_replay(
    path: Path | str,
    observations: Sequence[str],
    actions: Sequence[str],
    metadata: dict[str, Any],
    env_cfg: dict[str, Any],
    thoughts: dict[str, list[Any]] | None = None,
) -> Path:
    """Write a replay; `observations` and `actions` are JSON texts already, one a turn. Makes the folder if needed.

    `thoughts` are what the sides recorded, by player (`submission.thoughts`).

    Same match, same bytes. Raises `ValueError` if the path cannot be written.
    """
    path = Path(path)
    more = f', "thoughts": {json.dumps(thoughts)}' if thoughts else ""
    text = (
        f'{{"observations": [{", ".join(observations)}], "actions": [{", ".join(actions)}], '
        f'"metadata": {json.dumps(metadata)}, "env_cfg": {json.dumps(env_cfg)}, "default_seed": {json.dumps(metadata["seed"])}{more}}}'
    )
    data = text.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=6, mtime=0)
    write_whole(path, data)
    return path


def read_replay(path: Path | str) -> dict[str, Any]:
    """A replay as one dict. Raises `ValueError` if the file is missing or is no replay."""
    path = Path(path)
    replay = read_json(path)
    needed = {"observations", "actions", "metadata", "env_cfg"}
    if not isinstance(replay, dict) or not needed <= set(replay):
        raise ValueError(f"{path} is not a replay of ours: it lacks some of {', '.join(sorted(needed))}.")
    return replay


def read_json(path: Path) -> Any:
    """What a JSON file holds, gzip or not, or the official runner's page. Raises `ValueError` if it is missing, not whole, or too large."""
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = (gzip.GzipFile(fileobj=file) if packed else file).read(UNPACKED_LIMIT + 1)
        if len(data) > UNPACKED_LIMIT:
            raise ValueError(f"it has more than {UNPACKED_LIMIT >> 20} MiB")
        return _from_page(data) if data.lstrip()[:1] == b"<" else json.loads(data)
    except OSError as error:
        raise ValueError(f"Replay {path} cannot be read: {error.strerror or error}.") from error
    except (EOFError, zlib.error, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path} is not a whole replay: {error}.") from error


def _from_page(data: bytes) -> Any:
    """The replay inside a page of the official runner (`luxai-s2 -o x.html`)."""
    text = data.decode()
    before, found, after = text.partition("window.episode = ")
    if not found:
        raise ValueError("it is a web page, and none of the official runner's, which hold a replay")
    return json.JSONDecoder().raw_decode(after)[0]
