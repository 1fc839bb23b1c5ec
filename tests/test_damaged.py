"""Files cut short at every byte and with bits flipped: whoever reads them says a sentence, or has what was in them."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from agent.plain import to_dict
from agent.policy import Policy, PolicyConfig, policy_sizes
from agent.stored import build_agent, read_stored
from arena.match import play_match
from arena.rating.report import print_table
from arena.rating.results import Game, Results
from arena.rating.standings import tabulate
from arena.replay_page import write_page
from engine.config import GameConfig
from engine.jit import jit
from engine.maps import MapPool
from training.run.checkpoint import load, save
from wrappers.action import ActionConfig

FLIPS = 200


@dataclass(frozen=True)
class Kept:
    """A file, who reads it, and what is read while it is whole (None where that may change)."""

    path: Path
    read: Callable[[], object]
    whole: object


def checkpoint(folder: Path, name: str) -> Kept:
    torch.manual_seed(0)
    actions = ActionConfig()
    policy = Policy(PolicyConfig(width=4, channels=1), policy_sizes(actions))
    config = {"policy": policy.full_config(), "actions": to_dict(actions), "train": {"map_size": 48}}
    save(folder / "step", config, policy.state_dict(), {"rng": np.random.default_rng(0), "step": 3})

    def read() -> object:
        found = load(folder / "step")
        build_agent(read_stored(folder / "step"))
        return found.step, str(found.config), str(found.policy_state), str(found.trainer_state["step"])

    return Kept(folder / "step" / name, read, read())


def map_cache(folder: Path) -> Kept:
    def read() -> object:
        pool = MapPool(GameConfig(map_size=12), [0, 1], cache_dir=folder)
        return pool.rubble.tobytes(), pool.ice.tobytes(), pool.ore.tobytes(), pool.factories_per_team.tobytes()

    whole = read()
    (path,) = folder.iterdir()
    return Kept(path, read, whole)


def total(values: np.ndarray) -> int:
    found = 0
    for value in values:
        found += value
    return found


def compiled_code(folder: Path) -> Kept:
    """Compiling takes longer than all the rest, so it is not: what is read is whether there is code."""
    function = jit(total)
    values = np.arange(5)
    assert function(values) == 10
    (path,) = (path for path in folder.rglob("*") if path.is_file())

    def read() -> object:
        found = jit(total)._cache.load_overload((numba.typeof(values),), function.targetctx)  # pyright: ignore
        return found if found is None else found.entry_point is not None

    return Kept(path, read, True)


def results(folder: Path) -> Kept:
    path = folder / "results.jsonl"
    with Results(path, write=True) as file:
        for seed in range(4):
            ids = ("opponent:1", "opponent:2")
            file.add(Game(ids, ("a", "b"), 48, seed, "fast", "left", "it won", 1000, (3, 2), (1, 1), (None, None)))

    def read() -> object:
        with Results(path) as file, contextlib.redirect_stdout(io.StringIO()):
            print_table(tabulate(file.games), "")
        return None

    return Kept(path, read, None)


def replay(folder: Path, name: str) -> Kept:
    play_match("random", "idle", seed=1, map_size=12, replay=folder / name)

    def read() -> object:
        write_page(folder / name, folder / "page.html")
        return None

    return Kept(folder / name, read, None)


KINDS: dict[str, Callable[[Path], Kept]] = {
    "checkpoint's config": lambda folder: checkpoint(folder, "config.json"),
    "checkpoint's policy": lambda folder: checkpoint(folder, "policy.safetensors"),
    "checkpoint's trainer": lambda folder: checkpoint(folder, "trainer.pt"),
    "map cache": map_cache,
    "compiled code": compiled_code,
    "results": results,
    "replay": lambda folder: replay(folder, "replay.json.gz"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_sentences_or_made_anew(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUXS2_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" if kind == "compiled code" else tmp_path
    kept = KINDS[kind](folder)
    content = kept.path.read_bytes()
    generator = random.Random(0)
    damaged = [content[:size] for size in range(len(content))]
    for _ in range(FLIPS):
        flipped = bytearray(content)
        flipped[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        damaged.append(bytes(flipped))
    for data in damaged:
        kept.path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert kept.read() in (kept.whole, None)
            except ValueError as error:
                assert str(error) and len(str(error)) < 1000
