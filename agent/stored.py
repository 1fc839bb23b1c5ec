"""Reading checkpoints: which folder is meant, whether it is whole, and the policy in it.

    config.json          {"format", "step", "config", "files": name -> size and SHA-256}
    policy.safetensors   the policy's parameters and buffers
    trainer.pt           the trainer's state, for resuming (optional)

A run folder holds checkpoints as `step-000000123`, beside two small files `latest` and `best` that name one each.
`training.checkpoint` writes them.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

import torch

FORMAT = 1
CONFIG, POLICY, TRAINER = "config.json", "policy.safetensors", "trainer.pt"
POINTERS = ("best", "latest")
SHIPPED = Path(__file__).resolve().parent / "shipped"  # the best agent so far, part of the repository
WORDS = ("latest", "shipped")  # that mean a checkpoint where no file has that name
STEP = re.compile(r"step-(\d+)(?:\.(\d+))?")


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read; the message says which and why."""


def resolve(path: Path | str, which: Literal["best", "latest"] = "best", runs: Path | str = "runs") -> Path:
    """The checkpoint folder that `path` means (see `load`)."""
    if which not in POINTERS:
        raise CheckpointError(f"which is {which!r}; accepted are 'best' and 'latest'.")
    if str(path) == "shipped" and not Path(path).exists():
        path = SHIPPED
    if str(path) == "latest" and not Path(path).exists():
        saved = [pointer for pointer in Path(runs).glob("*/latest") if pointer.is_file()]
        if not saved:
            raise CheckpointError(f"There is no run with a checkpoint under {Path(runs)}; train one or name a checkpoint folder.")
        path = max(saved, key=lambda pointer: pointer.stat().st_mtime_ns).parent
    path = Path(path)
    if path.name in POINTERS and path.is_file():
        return follow(path)
    if path.name in POINTERS and not path.exists() and path.parent.is_dir():
        raise CheckpointError(f"Run {path.parent} has no checkpoint called {path.name}.")
    if not path.is_dir():
        raise CheckpointError(f"{path} is no folder; accepted are a checkpoint folder, a run folder, and the words latest and shipped.")
    if (path / CONFIG).exists() and not _in_run(path):
        return path
    for name in POINTERS[POINTERS.index(which) :]:
        if (path / name).is_file():
            return follow(path / name)
    whole = [folder for folder in steps_of(path) if (folder / CONFIG).exists()]
    if whole:  # killed between the very first checkpoint and its pointer
        return whole[-1]
    missing = "config.json" if any((path / name).exists() for name in (POLICY, TRAINER)) else "checkpoint"
    raise CheckpointError(f"{path} has no {missing}; accepted are a checkpoint folder, a run folder, and the words latest and shipped.")


def read_policy(folder: Path, contents: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a policy file of checkpoint `folder`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(contents)
    except SafetensorError as error:
        raise CheckpointError(f"{folder / POLICY} is not a safetensors file: {error}.") from error


def read_header(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"Checkpoint {folder} has no {CONFIG}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        version = header.get("format") if isinstance(header, dict) else None
        raise CheckpointError(f"{path} has format {version!r}; this version reads format {FORMAT}.")
    expected = {"format", "step", "config", "files"}
    if set(header) != expected:
        odd = ", ".join(sorted(set(header) ^ expected))
        raise CheckpointError(f"{path} has unknown or missing keys ({odd}); expected are {', '.join(sorted(expected))}.")
    if not isinstance(header["config"], dict) or not isinstance(header["files"], dict) or POLICY not in header["files"]:
        raise CheckpointError(f"{path} does not describe a checkpoint: config and files must be objects and files must name {POLICY}.")
    unknown = set(header["files"]) - {POLICY, TRAINER}
    if unknown:
        raise CheckpointError(f"{path} names the unknown files {', '.join(sorted(unknown))}; known are {POLICY} and {TRAINER}.")
    return header


def read_whole(folder: Path, name: str, facts: Any) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"Checkpoint {folder} lacks {name}.") from error
    if not isinstance(facts, dict) or set(facts) != {"size", "sha256"}:
        raise CheckpointError(f"{folder / CONFIG} does not give size and sha256 of {name}.")
    if len(data) != facts["size"]:
        raise CheckpointError(f"{folder / name} has {len(data)} bytes; {facts['size']} were written, so it is cut short or not ours.")
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise CheckpointError(f"{folder / name} has changed since it was written.")
    return data


def follow(pointer: Path) -> Path:
    name = pointer.read_text(encoding="utf-8", errors="replace").strip()
    if not STEP.fullmatch(name) or not (pointer.parent / name).is_dir():
        raise CheckpointError(f"{pointer} names {name!r}, which is no checkpoint in {pointer.parent}.")
    return pointer.parent / name


def _in_run(path: Path) -> bool:
    """A run folder may have a config.json of its own; what makes it a run is what it holds."""
    return any((path / name).is_file() for name in POINTERS) or bool(steps_of(path))


def steps_of(run: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest first."""
    found = [path for path in run.iterdir() if STEP.fullmatch(path.name) and path.is_dir()]
    # step-7.2 is the second checkpoint of step 7
    return sorted(found, key=lambda path: tuple(int(part) for part in path.name[5:].split(".")))
