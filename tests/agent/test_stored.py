"""Checkpoints that are whole and still no agent's: values of other types, unknown keys, weights that are no numbers."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from agent.stored import SHIPPED, CheckpointError, Stored, build_agent, load_agent, read_stored
from submission.package import package

ODD = [None, "x", -1, float("nan"), [3, "x"], {"a": 1}]


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value of nested objects, the objects themselves included."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


def replaced(config: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize("part", ["policy", "actions"])
def test_every_value_of_another_type_is_told(part: str) -> None:
    """Whatever stands in place of a value: a `CheckpointError`, or an agent for which it means something."""
    stored = read_stored("shipped")
    accepted = []
    for path in leaves(stored.config[part], (part,)):
        for value in ODD:
            try:
                build_agent(Stored(stored.folder, stored.step, replaced(stored.config, path, value), stored.policy_state))
                accepted.append((path, value))
            except CheckpointError as error:
                assert str(stored.folder) in str(error)
    assert not [value for _, value in accepted if value != value or isinstance(value, dict)]


@pytest.mark.parametrize("path", [("policy", "more"), ("policy", "dense", "more"), ("policy", "sizes", "more"), ("actions", "more")])
def test_unknown_keys_are_told(path: tuple[str, ...]) -> None:
    stored = read_stored("shipped")
    with pytest.raises(CheckpointError, match=r"unknown: more|'more'"):
        build_agent(Stored(stored.folder, stored.step, replaced(stored.config, path, 1), stored.policy_state))


WEIGHTS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "not a number": (lambda x: torch.full_like(x, float("nan")), "value.bias hold numbers that are not finite"),
    "infinite": (lambda x: x / 0, "value.bias hold numbers that are not finite"),
    "doubles": (lambda x: x.double(), "value.bias are torch.float64; expected is torch.float32"),
    "halves": (lambda x: x.half(), "value.bias are torch.float16; expected is torch.float32"),
    "whole numbers": (lambda x: x.int(), "value.bias are torch.int32; expected is torch.float32"),
    "eight bits": (lambda x: x.to(torch.float8_e4m3fn), "value.bias are torch.float8_e4m3fn"),
    "another shape": (lambda x: x.repeat(2), "size mismatch"),
}


@pytest.mark.parametrize("how", WEIGHTS)
def test_weights_that_are_none_are_told_by_whoever_reads_them(how: str, tmp_path: Path) -> None:
    change, message = WEIGHTS[how]
    state = load_file(SHIPPED / "policy.safetensors")
    data = save({**state, "value.bias": change(state["value.bias"])})
    header = json.loads((SHIPPED / "config.json").read_text())
    header["files"] = {"policy.safetensors": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
    (tmp_path / "policy.safetensors").write_bytes(data)
    (tmp_path / "config.json").write_text(json.dumps(header))
    for read in (load_agent, lambda path: package(path, tmp_path / "x.tar.gz")):
        with pytest.raises(CheckpointError, match=message):
            read(tmp_path)
    assert not (tmp_path / "x.tar.gz").exists()
