"""Checkpoints: round trips, every kind of damage, and a run that is killed while it saves."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.state import GAME_DTYPE, empty_games
from training.run.checkpoint import CheckpointError, load, pack, resolve, save, save_to_run, unpack

CONFIG = {"backbone": {"width": 16, "names": ["a", "b"]}, "gamma": 0.99, "note": None}


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def equal(a: Any, b: Any) -> bool:
    """Same types, same numbers to the bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, (np.ndarray, np.generic)) and a.dtype.names:  # by field: the bytes between fields mean nothing
        return a.dtype == b.dtype and all(equal(np.asarray(a)[name], np.asarray(b)[name]) for name in a.dtype.names)
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


def test_round_trip_of_policy_optimizer_and_config(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    model(torch.randn(8, 4)).sum().backward()
    optimizer.step()
    trainer = {"optimizer": optimizer.state_dict(), "step": 3, "best": 0.25, "torch": torch.get_rng_state()}
    folder = save(tmp_path / "one", CONFIG, model.state_dict(), trainer, step=7)
    back = load(folder)
    assert back.config == CONFIG and back.step == 7
    assert equal(back.policy_state, dict(model.state_dict()))
    assert equal(back.trainer_state["optimizer"]["state"], dict(optimizer.state_dict()["state"]))
    again = net(1)
    again.load_state_dict(back.policy_state)
    torch.optim.Adam(again.parameters()).load_state_dict(back.trainer_state["optimizer"])
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "policy.safetensors", "trainer.pt"]
    assert load(save(tmp_path / "two", CONFIG, model.state_dict())).trainer_state is None


def test_trainer_state_holds_arrays_records_and_generators(tmp_path: Path) -> None:
    games = empty_games(2)
    games["rubble"] = np.random.default_rng(0).integers(0, 100, games["rubble"].shape)
    state = {
        "games": games,
        "plain": np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::2],
        "empty": np.zeros((0, 4), np.float32),
        "zero dimensions": np.array(3.5),
        "scalars": [np.float64(0.1), np.int64(-3), np.bool_(True)],
        "nested": ({"a": 1, 2: None}, "text", True, -1.5, 2**100, float("inf")),
        "view": torch.arange(1000)[:3],
        "random": random.Random(4).getstate(),
    }
    back = load(save(tmp_path / "one", {}, net().state_dict(), state)).trainer_state
    assert equal(back, state)
    assert back["games"].dtype == GAME_DTYPE and back["games"].robot_power.shape == games.robot_power.shape
    back["games"].bid[0, 0] = 5  # comes back writable


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_generators_go_on_where_they_were(bits: Any, tmp_path: Path) -> None:
    generator, torch_generator = np.random.Generator(bits(3)), torch.Generator().manual_seed(3)
    generator.standard_normal(5)
    torch.rand(5, generator=torch_generator)
    back = load(save(tmp_path / "one", {}, {}, {"numpy": generator, "torch": torch_generator})).trainer_state
    assert np.array_equal(back["numpy"].standard_normal(9), generator.standard_normal(9))
    assert torch.equal(torch.rand(9, generator=back["torch"]), torch.rand(9, generator=torch_generator))


@pytest.mark.parametrize(
    "state",
    [
        *({"__packed__": "numpy generator", "state": {"bit_generator": name}} for name in ("test", "seed", "default_rng", 3, [], None)),
        {"__packed__": "numpy generator", "state": {"bit_generator": "PCG64", "state": "x"}},
        {"__packed__": "numpy generator"},
        {"__packed__": "torch generator", "state": torch.zeros(3)},
        {"__packed__": "array", "dtype": "nonsense(", "shape": [1], "data": torch.zeros(8, dtype=torch.uint8)},
        {"__packed__": "array", "dtype": "'|O'", "shape": [1], "data": torch.zeros(8, dtype=torch.uint8)},
        {"__packed__": "array", "dtype": "'<f8'", "shape": [7], "data": torch.zeros(8, dtype=torch.uint8)},
        {"__packed__": "array", "dtype": "'<f8'", "shape": [1], "data": 3},
        {"__packed__": "anything"},
    ],
)
def test_crafted_trainer_states_are_refused_and_call_nothing(state: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = save(tmp_path / "one", {}, {}, {"rng": 0})
    torch.save({"rng": state}, folder / "trainer.pt")
    header = json.loads((folder / "config.json").read_text())
    data = (folder / "trainer.pt").read_bytes()
    facts = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    without_digest(folder, files={**header["files"], "trainer.pt": facts})
    with pytest.raises(CheckpointError, match="trainer.pt cannot be read|has a generator"):
        load(folder)
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_kept_is_refused() -> None:
    for value in (object(), {1.5: 2}, np.array([object()]), {"__packed__": 1}, {3, 4}):
        with pytest.raises(CheckpointError, match="trainer state"):
            pack(value)
    assert unpack(pack([1, (2, "x")])) == [1, (2, "x")]


def test_wrapper_prefixes_are_stripped(tmp_path: Path) -> None:
    plain = net().state_dict()
    for prefix in ("_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."):
        state = {prefix + name: tensor for name, tensor in plain.items()}
        assert equal(load(save(tmp_path / prefix, {}, state)).policy_state, dict(plain))
    inner = {"0._orig_mod.weight": torch.ones(2), "1.module.weight": torch.ones(2)}  # a part compiled, a part really called so
    assert set(load(save(tmp_path / "inner", {}, inner)).policy_state) == {"0.weight", "1.module.weight"}
    with pytest.raises(CheckpointError, match="both become weight"):
        save(tmp_path / "both", {}, {"weight": torch.ones(1), "module.weight": torch.ones(1)})
    assert not (tmp_path / "both").exists()


def test_tied_and_transposed_parameters_survive(tmp_path: Path) -> None:
    shared = torch.randn(3, 4)
    state = {"a": shared, "b": shared, "c": shared.t(), "half": shared.bfloat16()}
    assert equal(load(save(tmp_path / "one", {}, state)).policy_state, {name: t.contiguous() for name, t in state.items()})


def test_a_run_keeps_the_last_two_and_the_best(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in range(10, 70, 10):
        save_to_run(run, step, CONFIG, {"step": torch.tensor(step)}, best=step == 20)
    assert sorted(path.name for path in run.iterdir()) == ["best", "latest", "step-000000020", "step-000000050", "step-000000060"]
    assert load(run).step == 20 and load(run, which="latest").step == 60
    assert load(run / "latest").step == 60 and load(run / "best").step == 20
    assert load(run / "step-000000050").policy_state["step"].item() == 50


def test_a_resumed_run_that_passes_its_old_steps_again(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save_to_run(tmp_path / "run", step, CONFIG, {"x": torch.zeros(1)})
    for step in (20, 30):  # resumed from 10 or 20: the newest by time is not the newest by number
        save_to_run(tmp_path / "run", step, CONFIG, {"x": torch.ones(1)})
        latest = load(tmp_path / "run")
        assert latest.step == step and latest.policy_state["x"].item() == 1
    assert len(list((tmp_path / "run").glob("step-*"))) == 2


def test_the_word_latest_is_the_run_saved_last(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run with a checkpoint"):
        load("latest", runs=tmp_path)
    for run, step in (("b", 1), ("a", 2)):
        save_to_run(tmp_path / run, step, {}, {"x": torch.zeros(1)})
        time.sleep(0.02)
    save_to_run(tmp_path / "b", 3, {}, {"x": torch.zeros(1)})
    assert load("latest", runs=tmp_path).folder == tmp_path / "b" / "step-000000003"
    (tmp_path / "c").mkdir()  # a run that has not saved yet does not count
    assert load("latest", runs=tmp_path).step == 3


def test_a_run_with_its_own_config_is_still_a_run(tmp_path: Path) -> None:
    save_to_run(tmp_path, 1, {"a": 1}, {"x": torch.zeros(1)})
    (tmp_path / "config.json").write_text("{}")
    assert load(tmp_path).config == {"a": 1}


def test_killed_between_the_first_checkpoint_and_its_pointer(tmp_path: Path) -> None:
    save_to_run(tmp_path, 1, {}, {"x": torch.zeros(1)})
    (tmp_path / "latest").unlink()
    assert resolve(tmp_path).name == "step-000000001"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_digest(folder: Path, **changes: Any) -> None:
    """A header as older versions, or others, write it."""
    path = folder / "config.json"
    header = {**json.loads(path.read_text()), **changes}
    del header["digest"]
    path.write_text(json.dumps(header))


DAMAGE = {
    "policy gone": (lambda f: (f / "policy.safetensors").unlink(), "lacks policy.safetensors"),
    "policy cut": (lambda f: (f / "policy.safetensors").write_bytes((f / "policy.safetensors").read_bytes()[:-3]), "cut short"),
    "policy empty": (lambda f: (f / "policy.safetensors").write_bytes(b""), "has 0 bytes"),
    "policy changed": (lambda f: flip(f / "policy.safetensors"), "has changed since"),
    "trainer gone": (lambda f: (f / "trainer.pt").unlink(), "lacks trainer.pt"),
    "trainer cut": (lambda f: (f / "trainer.pt").write_bytes((f / "trainer.pt").read_bytes()[:100]), "cut short"),
    "trainer changed": (lambda f: flip(f / "trainer.pt"), "has changed since"),
    "config changed": (lambda f: edit(f / "config.json", step=1), "has changed since"),
    "config nested": (lambda f: (f / "config.json").write_text("[" * 100_000), "is not JSON"),
    "config a long number": (lambda f: (f / "config.json").write_text("1" * 5000), "is not JSON"),
    "config gone": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "config cut": (lambda f: (f / "config.json").write_text((f / "config.json").read_text()[:-5]), "is not JSON"),
    "config binary": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "is not JSON"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "format None"),
    "another version": (lambda f: edit(f / "config.json", format=2), "has format 2; this version reads format 1"),
    "unknown key": (lambda f: edit(f / "config.json", gamma=1), r"unknown or missing keys \(gamma\)"),
    "step a word": (lambda f: without_digest(f, step="x"), "has the step 'x'"),
    "no policy named": (lambda f: without_digest(f, files={}), "files must name policy.safetensors"),
    "unknown file": (
        lambda f: without_digest(f, files={**json.loads((f / "config.json").read_text())["files"], "../x": {}}),
        "unknown files ../x",
    ),
}


def test_every_flipped_bit_of_the_config_is_told(tmp_path: Path) -> None:
    """Or changes nothing, as that of a space or of the E of a number does not."""
    folder = save(tmp_path / "one", CONFIG, net().state_dict(), step=7)
    path, whole = folder / "config.json", load(folder)
    content = path.read_bytes()
    refused = 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = load(folder)
            assert (found.step, found.config) == (whole.step, whole.config)
        except CheckpointError:
            refused += 1
    assert refused > 0.9 * 8 * len(content.replace(b" ", b""))


def test_a_checkpoint_without_a_digest_is_an_older_one(tmp_path: Path) -> None:
    folder = save(tmp_path / "one", {"numbers": {1: (2, 3)}}, net().state_dict())
    assert load(folder).config == {"numbers": {"1": [2, 3]}}
    without_digest(folder)
    assert load(folder).config == {"numbers": {"1": [2, 3]}}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damage_is_told_in_a_sentence(damage: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "one", CONFIG, net().state_dict(), {"x": np.arange(1000)})
    load(folder)
    harm, message = DAMAGE[damage]
    harm(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_other_refusals(tmp_path: Path) -> None:
    folder = save(tmp_path / "one", CONFIG, net().state_dict())

    def only_gamma(config: dict[str, Any]) -> None:
        if set(config) != {"gamma"}:
            raise ValueError("unknown key backbone; accepted is gamma.")

    with pytest.raises(CheckpointError, match="does not fit this version: unknown key backbone"):
        load(folder, check=only_gamma)
    with pytest.raises(CheckpointError, match="exists; a checkpoint is written to a new folder"):
        save(folder, CONFIG, net().state_dict())
    with pytest.raises(CheckpointError, match="cannot be written as JSON"):
        save(tmp_path / "two", {"x": object()}, {})
    with pytest.raises(CheckpointError, match="is no folder"):
        load(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        load(tmp_path)
    save_to_run(tmp_path / "run", 1, {}, {})
    with pytest.raises(CheckpointError, match="has no checkpoint called best"):
        load(tmp_path / "run" / "best")
    shutil.rmtree(tmp_path / "run" / "step-000000001")
    with pytest.raises(CheckpointError, match="names 'step-000000001', which is no checkpoint"):
        load(tmp_path / "run")
    assert not list(tmp_path.rglob(".tmp-*"))


def recorded(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[tuple[str, Any]]:
    """What is called of `os` from now on, which is done all the same: (name, which file: its inode, or the arguments' last names)."""
    calls: list[tuple[str, Any]] = []

    def wrapped(name: str, call: Any) -> Any:
        def record(*arguments: Any) -> Any:
            first = arguments[0]
            calls.append((name, os.fstat(first).st_ino if isinstance(first, int) else tuple(Path(path).name for path in arguments)))
            return call(*arguments)

        return record

    for name in names:
        monkeypatch.setattr(os, name, wrapped(name, getattr(os, name)))
    return calls


def test_all_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and their folder before the rename, the folder above after it; a pointer's file before it is put in place."""
    calls = recorded(monkeypatch, "fsync", "rename", "replace")
    folder = save_to_run(tmp_path, 1, CONFIG, net().state_dict(), {"x": 1})
    flushed = [("fsync", path.stat().st_ino) for path in (*folder.iterdir(), folder, tmp_path)]
    (renamed,) = [i for i, (name, _) in enumerate(calls) if name == "rename"]
    (pointed,) = [i for i, (name, _) in enumerate(calls) if name == "replace"]
    assert set(calls[:renamed]) == set(flushed[:-1]) and len(flushed) == 5
    assert calls[renamed + 1 : pointed] == [flushed[-1], ("fsync", (tmp_path / "latest").stat().st_ino)]
    assert calls[pointed:] == [("replace", (".tmp-latest", "latest")), flushed[-1]]


def test_the_best_is_pointed_to_before_the_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, the run goes on from before this step and comes by again; the other way round the best one would be lost."""
    calls = recorded(monkeypatch, "replace")
    save_to_run(tmp_path, 1, {}, {}, best=True)
    assert [names[1] for _, names in calls] == ["best", "latest"]


def test_a_checkpoint_that_is_being_deleted_has_no_name_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        save_to_run(tmp_path, step, {}, {"x": torch.zeros(1)})

    def interrupted(path: Path, **_: Any) -> None:
        (path / "config.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", lambda path, **options: interrupted(path) if Path(path).exists() else None)
    with pytest.raises(KeyboardInterrupt):
        save_to_run(tmp_path, 3, {}, {"x": torch.zeros(1)})
    monkeypatch.undo()
    assert [load(folder).step for folder in sorted(tmp_path.glob("step-*"))] == [2, 3] and len(list(tmp_path.glob(".tmp-*"))) == 1
    save_to_run(tmp_path, 4, {}, {"x": torch.zeros(1)})
    assert [load(folder).step for folder in sorted(tmp_path.glob("step-*"))] == [3, 4] and not list(tmp_path.glob(".tmp-*"))


# imports once, then for every step it is told forks a process that saves from there on, until somebody kills that
SAVER = """
import os, sys, torch
from training.run.checkpoint import save_to_run
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        print(os.getpid(), flush=True)
        step = int(line)
        while True:
            step += 1
            state = {"step": torch.full((20000,), step)}
            save_to_run(sys.argv[1], step, {"step": step}, state, {"step": step, "more": torch.zeros(20000)}, best=step % 3 == 0)
            print(step, flush=True)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def test_a_run_killed_at_any_moment_can_be_loaded(tmp_path: Path) -> None:
    """Ten times `kill -9` at a random moment while it saves; nothing that was reported saved is ever lost."""
    run, rng, reported = tmp_path / "run", random.Random(0), 0
    command = [sys.executable, "-c", SAVER, str(run)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as saver:
        assert saver.stdin is not None and saver.stdout is not None
        for _ in range(10):
            print(reported, file=saver.stdin, flush=True)
            child = int(saver.stdout.readline())
            reported = int(saver.stdout.readline())
            time.sleep(rng.uniform(0.0, 0.1))
            os.kill(child, signal.SIGKILL)
            for line in iter(saver.stdout.readline, "killed\n"):
                reported = int(line)
            for which in ("best", "latest"):
                back = load(run, which=which)
                assert back.policy_state["step"].unique().tolist() == [back.step] == [back.config["step"]]
                assert back.trainer_state["step"] == back.step
                assert back.step >= reported - (3 if which == "best" else 0)
            reported = load(run, which="latest").step
        saver.stdin.close()
    save_to_run(run, reported + 1, {}, {})
    assert not list(run.glob(".tmp-*")) and len(list(run.glob("step-*"))) <= 3  # what the kills left is cleared away


def test_what_a_kill_leaves_of_any_file_of_the_run_is_cleared_away_with_the_next_checkpoint(tmp_path: Path) -> None:
    """A file that is written whole, killed before its rename."""
    code = "import os, sys, pathlib; from submission.files import write_whole; os.replace = lambda *_: os.kill(os.getpid(), 9); "
    code += "write_whole(pathlib.Path(sys.argv[1]), 'x')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "alarms.jsonl")], cwd=Path(__file__).parents[2])
    assert len(list(tmp_path.iterdir())) == 1
    save_to_run(tmp_path, 1, {}, {"x": torch.zeros(1)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-000000001"]
