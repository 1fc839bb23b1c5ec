"""Metrics of a run: a JSONL file always, and what a logger shows (`training.run.loggers`).

`metrics.jsonl` has one object a line: `step`, `time` (seconds since 1970) and the metrics of that moment, under the
field's usual names (`charts/...`, `losses/...`, `eval/...`). It is flushed with every line. A number that is not finite
is written as null, since JSON has none.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsFloat

import numpy as np

from submission.files import write_whole
from training.run.loggers import open_logger
from wrappers.vec_env import GameResult

FILE = "metrics.jsonl"


def check_new(run_dir: Path | str, own: Collection[str] = ()) -> None:
    """Raises `ValueError` if the run folder is a file or holds a run, or anything else but hidden files and those named in `own`."""
    run_dir = Path(run_dir)
    if run_dir.exists() and not run_dir.is_dir():
        raise ValueError(f"{run_dir} is a file; a run needs a folder.")
    for found in [run_dir / FILE, run_dir / "latest", run_dir / "best", *sorted(run_dir.glob("step-*"))]:
        if found.exists():
            raise ValueError(f"{found} exists; resume the run, or choose another run folder.")
    for found in sorted(run_dir.glob("*")):
        if not found.name.startswith(".") and found.name not in own:
            raise ValueError(f"{found} is in the way: a run wants a folder of its own, so choose a new or an empty one.")


def files_of_run(run_dir: Path) -> list[Path]:
    """What of a folder a training run writes."""
    own = (FILE, "config.json", "latest", "best", "step-*", "alarms.jsonl", "sessions.jsonl")
    patterns = (*own, "events.out.tfevents.*", "wandb", ".lock", ".tmp-*")
    return sorted(path for pattern in patterns for path in run_dir.glob(pattern))


class MetricsWriter:
    """Writes numbers to `run_dir/metrics.jsonl` and to a logger, which is told the run's settings as well.

    With `resume_step` a run goes on: what was written for later steps (by the part of the run that the checkpoint does
    not know) is dropped from both, so that no step is there twice. Without it `run_dir` must not have metrics yet.
    """

    def __init__(
        self,
        run_dir: Path | str,
        resume_step: int | None = None,
        logger: str = "tensorboard",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        run_dir = Path(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        self.path = run_dir / FILE
        if resume_step is not None:
            _truncate(self.path, resume_step)
        elif self.path.exists():
            raise ValueError(f"{self.path} exists; resume the run, or choose another run folder.")
        self._file = open(self.path, "ab", buffering=0)
        self._board = open_logger(logger, run_dir, resume_step, settings)

    def write(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Record numbers (Python's, numpy's or one-element tensors) at an environment step; a resumed run cuts after it."""
        values = {name: float(value) for name, value in metrics.items()}
        for reserved in ("step", "time"):
            if reserved in values:
                raise ValueError(f"A metric is called {reserved!r}, which names the line's own {reserved}.")
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"step": int(step), "time": round(time.time(), 3), **finite}, allow_nan=False).encode() + b"\n"
        try:
            while line:  # a full disk takes a part
                line = line[self._file.write(line) :]
        except OSError as error:
            raise ValueError(f"{self.path} cannot be written: {error.strerror or error}.") from error
        if self._board is not None:
            self._board.write(int(step), values)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def summarize(finished: list[tuple[GameResult, tuple[int, ...]]]) -> dict[str, float]:
    """Charts of the whole games that ended in a rollout, of the players that the policy was; empty if none did."""
    finished = [(result, players) for result, players in finished if result.whole]
    if not finished:
        return {}

    def own(name: str) -> float:
        return float(np.mean([np.mean([getattr(result, name)[player] for player in players]) for result, players in finished]))

    return {
        "charts/ice_per_game": own("ice_got"),
        "charts/game_length": float(np.mean([result.turns for result, _ in finished])),
        "charts/lichen": own("lichen"),
        "charts/robots": own("robots"),
        "charts/factories": own("factories"),
        "charts/finished": float(np.mean([all(result.factories[player] > 0 for player in players) for result, players in finished])),
    }


def read_metrics(path: Path | str) -> Iterator[dict[str, Any]]:
    """The lines of a `metrics.jsonl` (or of the one in a run folder); a last line cut short by a kill is left out."""
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _truncate(path: Path, step: int) -> None:
    """Keep the lines up to and including `step`; the file is replaced in one rename."""
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    write_whole(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept))
