"""Reading checkpoints: which folder is meant, whether it is whole, and the agent in it.

    config.json          {"format", "step", "config", "files": name -> size and SHA-256, "digest": SHA-256 of the rest}
    policy.safetensors   the policy's parameters and buffers
    trainer.pt           the trainer's state, for resuming (optional)

A run folder holds checkpoints as `step-000000123`, beside two small files `latest` and `best` that name one each.
`training.run.checkpoint` writes them, and reads the trainer's state. Who only plays needs `load_agent`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from agent.plain import check_values, from_dict

if TYPE_CHECKING:
    import torch

    from agent.policy import Policy
    from engine.config import GameConfig
    from wrappers.action import ActionConfig

FORMAT = 1
CONFIG, POLICY, TRAINER = "config.json", "policy.safetensors", "trainer.pt"
DIGEST = "digest"
POINTERS = ("best", "latest")
SHIPPED = Path(__file__).resolve().parent / "shipped"  # the best agent so far, part of the repository
WORDS = ("latest", "shipped")  # that mean a checkpoint where no file has that name
STEP = re.compile(r"step-(\d+)(?:\.(\d+))?")


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read; the message says which and why."""


@dataclass(frozen=True)
class Stored:
    """What of a checkpoint folder playing needs."""

    folder: Path
    step: int
    config: dict[str, Any]
    """Plain values: `policy`, `actions` and more, the run's own config among it."""
    policy_state: dict[str, torch.Tensor]


class Agent(NamedTuple):
    """A policy and what it is offered to do."""

    policy: Policy
    actions: ActionConfig


def load_agent(path: Path | str) -> tuple[Agent, GameConfig, Stored]:
    """The agent of a checkpoint, the rules it was trained with, and what is stored of it.

    `path` is a checkpoint folder, a run folder (its best checkpoint), `latest` or `shipped`. Raises `CheckpointError`.
    """
    from engine.config import GameConfig

    stored = read_stored(path)
    train = stored.config.get("train")
    if not isinstance(train, dict) or not isinstance(train.get("map_size"), int):
        raise CheckpointError(f"The config of {stored.folder} has no train.map_size, so the rules that it was trained with are not known.")
    return build_agent(stored), GameConfig.for_map_size(train["map_size"]), stored


def read_stored(path: Path | str) -> Stored:
    """The parts of a checkpoint that playing needs (`path` as of `load_agent`). Raises `CheckpointError`."""
    folder = resolve(path)
    header = read_header(folder)
    state = read_policy(folder, read_whole(folder, POLICY, header["files"][POLICY]))
    for key in ("policy", "actions"):
        if not isinstance(header["config"].get(key), dict):
            raise CheckpointError(f"The config of {folder} has no {key!r}, so it is no checkpoint of an agent.")
    return Stored(folder, header["step"], header["config"], state)


def build_agent(stored: Stored) -> Agent:
    """The agent, ready to play. Raises `CheckpointError` for a checkpoint of another version."""
    from agent.policy import Policy, PolicyConfig, check_sizes
    from wrappers.action import ActionConfig

    try:
        actions = from_dict(ActionConfig, stored.config["actions"], "actions")
        config = dict(stored.config["policy"])
        check_sizes(config.pop("sizes", None))
        check_values(PolicyConfig, config, "policy")
        policy = Policy.from_config(stored.config["policy"])
        policy.load_state_dict(stored.policy_state)
    except (TypeError, ValueError, LookupError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"Checkpoint {stored.folder} does not fit this version: {' '.join(str(error).split())}") from error
    policy.eval()
    return Agent(policy, actions)


def copy_for_play(source: Path, folder: Path) -> None:
    """Copy a checkpoint folder without its trainer's state, so that what happens to the source changes nothing."""
    header = read_header(source)
    files = {POLICY: header["files"][POLICY]}
    folder.mkdir(parents=True)
    (folder / POLICY).write_bytes(read_whole(source, POLICY, files[POLICY]))
    (folder / CONFIG).write_text(header_text(header["step"], header["config"], files), encoding="utf-8")


def header_text(step: int, config: dict[str, Any], files: dict[str, Any]) -> str:
    """The contents of config.json. Raises `TypeError` and `ValueError` for what is no JSON."""
    header = {"format": FORMAT, "step": step, "config": config, "files": files}
    return json.dumps({**header, DIGEST: _digest(header)}, indent=2, allow_nan=False)


def _digest(header: dict[str, Any]) -> str:
    """Of the values, not of how they are laid out."""
    plain = json.loads(json.dumps(header))  # keys and tuples as they are once read
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def resolve(path: Path | str, which: Literal["best", "latest"] = "best", runs: Path | str = "runs") -> Path:
    """The checkpoint folder that `path` means (as of `load_agent`)."""
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
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        version = header.get("format") if isinstance(header, dict) else None
        raise CheckpointError(f"{path} has format {version!r}; this version reads format {FORMAT}.")
    expected = {"format", "step", "config", "files"}
    digest = header.pop(DIGEST, None)  # older checkpoints have none
    if set(header) != expected:
        odd = ", ".join(sorted(set(header) ^ expected))
        raise CheckpointError(f"{path} has unknown or missing keys ({odd}); expected are {', '.join(sorted(expected))}.")
    if digest is not None and digest != _digest(header):
        raise CheckpointError(f"{path} has changed since it was written.")
    if type(header["step"]) is not int or header["step"] < 0:
        raise CheckpointError(f"{path} has the step {header['step']!r}; expected is a number from 0 on.")
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
