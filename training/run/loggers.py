"""Where a run's curves go besides `metrics.jsonl`: TensorBoard, Weights & Biases, or nowhere else.

Nothing leaves the machine unless asked for: W&B writes its files into the run folder, to be looked at later with `wandb sync`;
the environment variable WANDB_MODE=online uploads while the run goes on.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from agent.plain import flat
from submission.files import write_whole

Logger = Literal["tensorboard", "wandb", "none"]
PROJECT = "luxs2"
OUTCOMES = ("eval/lichen", "eval/ice_transferred", "eval/finished", "charts/lichen")  # what TensorBoard compares settings by


class Board(Protocol):
    """Shows numbers by name over a run's steps."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def check_logger(name: str) -> None:
    """Raises `ValueError` if there is no such logger, or its library is not installed."""
    if name not in get_args(Logger):
        raise ValueError(f"There is no logger {name!r}; accepted are {', '.join(get_args(Logger))}.")
    if name == "wandb" and importlib.util.find_spec("wandb") is None:
        raise ValueError("The logger wandb needs the package wandb, which is not installed: pip install wandb (tensorboard is there).")


def open_logger(name: str, run_dir: Path, resume_step: int | None = None, settings: Mapping[str, Any] | None = None) -> Board | None:
    """The logger of that name for a run; None for `none`. `settings` are the run's, nested as its config is.

    With `resume_step` what TensorBoard has of later steps is hidden. Raises `ValueError` (`check_logger`).
    """
    check_logger(name)
    shown = {key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in flat(settings or {}).items()}
    if name == "tensorboard":
        return TensorBoard(run_dir, resume_step, shown)
    return Wandb(run_dir, shown) if name == "wandb" else None


class TensorBoard:
    """Event files in the run folder, with the settings as hyperparameters."""

    def __init__(self, run_dir: Path, resume_step: int | None, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        purge = None if resume_step is None else resume_step + 1
        self._writer = SummaryWriter(str(run_dir), purge_step=purge, flush_secs=10)
        if settings:  # not by add_hparams, which makes a run of its own for them
            for summary in hparams(dict(settings), dict.fromkeys(OUTCOMES, 0.0)):
                self._writer._get_file_writer().add_summary(summary)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        try:
            self._writer.close()
        except OSError as error:  # metrics.jsonl is the record, and whatever ends the run is told by others
            warnings.warn(f"TensorBoard's file is not complete: {error.strerror or error}.", stacklevel=2)


class Wandb:
    """A run of Weights & Biases, offline unless WANDB_MODE says otherwise; a resumed run keeps its id."""

    def __init__(self, run_dir: Path, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
        wandb: Any = importlib.import_module("wandb")
        name = run_dir / "wandb" / "id"
        if not name.is_file():
            write_whole(name, uuid.uuid4().hex[:8])
        self._run = wandb.init(
            project=PROJECT,
            name=run_dir.resolve().name,
            id=name.read_text(encoding="utf-8"),
            dir=str(run_dir),
            config=dict(settings),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(console="off", silent=True, save_code=False, disable_git=True, disable_code=True),
        )
        self._run.define_metric("*", step_metric="step")  # a resumed run may write a step again

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def close(self) -> None:
        self._run.finish()
