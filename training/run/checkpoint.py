"""Checkpoints: a folder with a policy, what is needed to build it, and what is needed to resume.

    config.json          {"format", "step", "config", "files": name -> size and SHA-256, "digest": SHA-256 of the rest}
    policy.safetensors   the policy's parameters and buffers
    trainer.pt           the trainer's state, for resuming (optional); loads with `weights_only=True`

A run folder holds them as `step-000000123`, beside two small files `latest` and `best` that name one each. A
checkpoint is written under a temporary name, flushed to disk and renamed; then the pointers are replaced, each in one
atomic rename; then old checkpoints are renamed away and deleted. So a run that is killed at any moment can be loaded.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save as save_tensors

from agent.stored import (
    CONFIG,
    POINTERS,
    POLICY,
    TRAINER,
    CheckpointError,
    follow,
    header_text,
    read_header,
    read_policy,
    read_whole,
    resolve,
    steps_of,
)

_TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds."""

    folder: Path
    step: int
    config: dict[str, Any]
    policy_state: dict[str, torch.Tensor]
    trainer_state: Any  # None if none was saved


def save(
    folder: Path | str, config: dict[str, Any], policy_state: dict[str, torch.Tensor], trainer_state: Any | None = None, step: int = 0
) -> Path:
    """Write one checkpoint folder, complete or not at all; raises `CheckpointError` if it exists.

    `trainer_state` may nest dicts, lists and tuples of tensors, numbers, strings, numpy arrays (structured ones too) and
    numpy or torch random generators; they come back as such from `load`.
    """
    folder = Path(folder)
    if folder.exists():
        raise CheckpointError(f"{folder} exists; a checkpoint is written to a new folder (save_to_run keeps several in a run).")
    contents = {POLICY: save_tensors(_plain_state(policy_state))}
    if trainer_state is not None:
        buffer = io.BytesIO()
        torch.save(pack(trainer_state), buffer)
        contents[TRAINER] = buffer.getvalue()
    files = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    try:
        contents[CONFIG] = header_text(step, config, files).encode()
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The config cannot be written as JSON: {error}.") from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f"{_TEMPORARY}{folder.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, data in contents.items():
            _write(temporary / name, data)
        _flush_folder(temporary)
        os.rename(temporary, folder)
        _flush_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk is not to get fuller
        raise CheckpointError(f"Checkpoint {folder} cannot be written: {error.strerror or error}.") from error
    return folder


def save_to_run(
    run: Path | str,
    step: int,
    config: dict[str, Any],
    policy_state: dict[str, torch.Tensor],
    trainer_state: Any | None = None,
    best: bool = False,
    keep: int = 2,
) -> Path:
    """Write a checkpoint of this step into a run folder, point `latest` (and `best`) to it, and delete all others but the
    one before it by number (`keep` in all) and those pointed to. A run folder has one writer. Raises `CheckpointError`."""
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    _sweep(run)  # what a kill left of the last one takes room
    name, again = f"step-{step:09d}", 0
    while (run / name).exists():  # a resumed run comes by again: its old folder may be the one that is pointed to
        again += 1
        name = f"step-{step:09d}.{again}"
    folder = save(run / name, config, policy_state, trainer_state, step)
    if best:  # first: killed in between, the run goes on from before this step, and no best one is lost
        _point(run, "best", name)
    _point(run, "latest", name)
    _prune(run, keep)
    return folder


def load(
    path: Path | str,
    which: Literal["best", "latest"] = "best",
    check: Callable[[dict[str, Any]], Any] | None = None,
    runs: Path | str = "runs",
) -> Checkpoint:
    """Read a checkpoint and make sure that it is whole.

    `path` is a checkpoint folder, a run folder (its best checkpoint if there is one and `which` is `"best"`, else its
    latest), a pointer in a run folder (`runs/mine/latest`), or the word `latest`: the run under `runs` that was saved
    last. `check` gets the config and raises `ValueError`, `TypeError` or `KeyError` if it cannot be used, for instance
    for an unknown key. Tensors are on the CPU. Raises `CheckpointError`.
    """
    folder = resolve(path, which, runs)
    header = read_header(folder)
    contents = {name: read_whole(folder, name, facts) for name, facts in header["files"].items()}
    config = header["config"]
    if check is not None:
        try:
            check(config)
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"The config of checkpoint {folder} does not fit this version: {error}") from error
    policy_state = read_policy(folder, contents[POLICY])
    trainer_state = None
    if TRAINER in contents:
        try:
            trainer_state = unpack(torch.load(io.BytesIO(contents[TRAINER]), map_location="cpu", weights_only=True))
        except CheckpointError:
            raise
        # whatever else torch and numpy raise for a crafted file; a name that is missing, a type that does not fit
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, SyntaxError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{folder / TRAINER} cannot be read: {type(error).__name__}: {error}.") from error
    return Checkpoint(folder, header["step"], config, policy_state, trainer_state)


def load_to_resume(path: Path | str, check: Callable[[dict[str, Any]], Any]) -> Checkpoint:
    """The latest checkpoint of a run, or, with a warning, the newest whole one where that is damaged; `path` and `check` as of `load`."""
    try:
        return load(path, which="latest", check=check)
    except CheckpointError as error:
        run = Path(path).parent if Path(path).name in POINTERS else Path(path)
        for folder in reversed(steps_of(run) if run.is_dir() else []):
            try:
                earlier = load(folder, check=check)
            except CheckpointError:
                continue
            if earlier.trainer_state is not None:
                warnings.warn(f"{error} The run goes on from the whole checkpoint before it, {folder}.", stacklevel=2)
                return earlier
        raise


def pack(value: Any) -> Any:
    """A nest of plain values and arrays as one that `torch.load(weights_only=True)` accepts; `unpack` turns it back."""
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:  # before float: np.float64 is one
        data = torch.from_numpy(np.frombuffer(np.asarray(value).tobytes(), np.uint8).copy())
        kind = "scalar" if isinstance(value, np.generic) else "records" if isinstance(value, np.recarray) else "array"
        return {_PACKED: kind, "dtype": repr(np.lib.format.dtype_to_descr(value.dtype)), "shape": list(value.shape), "data": data}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()  # a view would be saved with all of its storage
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, (str, int)) or key == _PACKED:
                raise CheckpointError(f"A trainer state has the key {key!r}; accepted are strings and integers, but for {_PACKED!r}.")
        return {key: pack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, tuple):
        return tuple(pack(item) for item in value)
    if isinstance(value, np.random.Generator):
        return {_PACKED: "numpy generator", "state": pack(value.bit_generator.state)}
    if isinstance(value, torch.Generator):
        return {_PACKED: "torch generator", "state": value.get_state()}
    raise CheckpointError(f"A trainer state cannot hold a {type(value).__name__}.")


def unpack(value: Any) -> Any:
    """What `pack` was given. Tuples stay tuples; named tuples have become plain ones."""
    if isinstance(value, (list, tuple)):
        return type(value)(unpack(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(_PACKED)
    if kind is None:
        return {key: unpack(item) for key, item in value.items()}
    if kind == "numpy generator":
        state = unpack(value["state"])
        if state["bit_generator"] not in GENERATORS:
            raise CheckpointError(f"The trainer state has a generator {state['bit_generator']!r}; known are {', '.join(GENERATORS)}.")
        bits = getattr(np.random, state["bit_generator"])()
        bits.state = state
        return np.random.Generator(bits)
    if kind == "torch generator":
        generator = torch.Generator()
        generator.set_state(value["state"])
        return generator
    dtype = np.lib.format.descr_to_dtype(ast.literal_eval(value["dtype"]))
    array = np.frombuffer(value["data"].numpy().tobytes(), dtype).reshape(value["shape"]).copy()
    return array[()] if kind == "scalar" else array.view(np.recarray) if kind == "records" else array


_PACKED = "__packed__"
GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")  # of numpy.random; a file is not to call anything else there


def _plain_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names without what `torch.compile` (`_orig_mod.`, anywhere) and data-parallel wrappers (`module.`, in front) add."""
    plain: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        short = name.replace("_orig_mod.", "").removeprefix("module.")
        if short in plain:
            raise CheckpointError(f"The policy state has {name} and another tensor that both become {short}.")
        plain[short] = tensor.detach().cpu().contiguous().clone()  # safetensors refuses shared memory
    return plain


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _point(run: Path, pointer: str, name: str) -> None:
    temporary = run / f"{_TEMPORARY}{pointer}"
    try:
        _write(temporary, f"{name}\n".encode())
        os.replace(temporary, run / pointer)
        _flush_folder(run)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{run / pointer} cannot be written: {error.strerror or error}.") from error


def _prune(run: Path, keep: int) -> None:
    pointed = {follow(run / name).name for name in POINTERS if (run / name).is_file()}
    # by number, since clocks are set back; those behind the latest are of a course that the run did not go on with
    steps = steps_of(run)
    last = steps.index(follow(run / "latest")) + 1
    for path in steps:
        if path not in steps[max(last - keep, 0) : last] and path.name not in pointed:
            os.rename(path, path.with_name(f"{_TEMPORARY}old-{path.name}"))  # never a half-deleted folder under its own name
    _sweep(run)


def _sweep(run: Path) -> None:
    for path in run.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
