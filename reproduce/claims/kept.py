"""Runs as they are kept beside their page: a line of JSON each, so that every page can be made again without running anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from reproduce.claims.judges import Rows
from submission.files import write_whole
from training.run.runs import Run, read_run

DIGITS = 6  # significant, of a number
KEPT = Path("docs/results/runs")


def compact(value: Any) -> Any:
    """A plain value with its numbers rounded."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: compact(part) for name, part in value.items()}
    return [compact(part) for part in value] if isinstance(value, list) else value


def write_kept(path: Path, runs: Iterable[Run]) -> None:
    """One line a run."""
    write_whole(path, "".join(json.dumps(compact(run), separators=(",", ":")) + "\n" for run in runs))


def read_kept(path: Path) -> list[Run]:
    """Raises `ValueError` for a file that holds something else."""
    try:
        return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} holds no runs, a line of JSON each ({error}).") from error


def read_rows(folder: Path, kept: Path, names: Sequence[str], curve: Sequence[str]) -> Rows:
    """The runs of these rows by seed: those in `folder`, a file each, or if it has none those of the file `kept`.

    Numbers are rounded either way, so that a page is the same whichever it is made of. Raises `ValueError` if there are none.
    """
    runs = [read_run(path, curve) for name in names for path in sorted(folder.glob(f"{name}-[0-9]*.json"))]
    if not runs and kept.exists():
        runs = read_kept(kept)
    if not runs:
        raise ValueError(f"There are no finished runs in {folder}, and none in {kept}; run some first.")
    found = {name: [compact(run) for run in runs if run["row"] == name] for name in names}
    return {name: sorted(rows, key=lambda run: run["seed"]) for name, rows in found.items() if rows}
