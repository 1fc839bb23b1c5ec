"""A run's folder: what is somebody else's stays, one process writes, and nothing is lost where it cannot be written or is stopped."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from commands.demo import clear
from commands.options import UsageError, check_output
from submission.files import write_whole
from tests.training.test_training import SMALL
from training.run import checkpoint
from training.run.checkpoint import CheckpointError, load, load_to_resume, save_to_run
from training.run.lock import locked
from training.run.metrics import read_metrics
from training.run.stopping import Stopped
from training.train import check_resumable, run_to_resume, train

ROOT = Path(__file__).resolve().parents[2]
X = {"x": torch.zeros(4096)}


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: the system's own refusal, as of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)


# ------------------------------------------------------------------------------------- what belongs to somebody else


@pytest.mark.parametrize("foreign", ["notes.txt", "logs/mine.txt", "data/x"])
def test_the_demo_removes_nothing_that_it_has_not_made(foreign, tmp_path):
    for name in ("metrics.jsonl", "latest", "step-000000001/config.json", "submission.tar.gz", "logs/left.log", foreign):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=f"{foreign.split('/')[0]}.* was not made by the demo"):
        clear(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / foreign).unlink()
    if foreign == "data/x":
        (tmp_path / "data").rmdir()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_demo_follows_no_link_out_of_its_folder(tmp_path):
    mine, run = tmp_path / "mine", tmp_path / "run"
    (mine / "left.log").mkdir(parents=True)
    run.mkdir()
    (run / "step-000000001").symlink_to(mine)
    (run / "metrics.jsonl").touch()
    clear(run)
    assert (mine / "left.log").is_dir() and not list(run.glob("*step*"))


def test_a_run_wants_a_folder_of_its_own(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="thesis.txt is in the way"):
        train(SMALL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_links_are_written_through_and_what_is_no_file_is_refused(tmp_path):
    kept, link, fifo, dangling = (tmp_path / name for name in ("kept.json", "link.json", "fifo", "dangling"))
    kept.write_text("old")
    link.symlink_to(kept)
    (tmp_path / "folder").mkdir()
    dangling.symlink_to(tmp_path / "folder" / "new.json")
    os.mkfifo(fifo)
    for path in (link, dangling):
        check_output(path)
        write_whole(path, "new")
        assert path.is_symlink() and path.read_text() == "new"
    assert kept.read_text() == "new" and sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["new.json"]
    for path in (fifo, Path("/dev/full"), tmp_path / "folder"):
        for write in (lambda p: write_whole(p, "x"), check_output):
            with pytest.raises(ValueError, match=f"{path} is (no file|a folder); name a file"):
                write(path)
    assert fifo.is_fifo() and Path("/dev/full").is_char_device()


# ---------------------------------------------------------------------------------------------------------- one writer


def test_a_run_folder_has_one_writer_and_a_killed_one_leaves_no_lock(tmp_path):
    code = "import sys, time; from pathlib import Path; from training.run.lock import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=f"in use by process {holder.pid} on "):
            train(SMALL, tmp_path / "run")
        with pytest.raises(ValueError, match=f"in use by process {holder.pid} on "), locked(tmp_path / "run"):
            pass
        holder.kill()
    train(SMALL, tmp_path / "run")
    with locked(tmp_path / "run"), pytest.raises(ValueError, match=f"in use by process {os.getpid()} on "):
        train(dataclasses.replace(SMALL, env_steps=256), tmp_path / "run", resume=True)


# ---------------------------------------------------------------------------------------- stopped, and going on


def without_time(run: Path) -> list[dict]:
    return [{name: value for name, value in line.items() if name not in ("time", "charts/SPS")} for line in read_metrics(run)]


def test_a_stop_in_an_iteration_whose_evaluation_is_due_loses_no_evaluation(tmp_path, monkeypatch):
    """Ctrl-C comes while the iteration runs; the evaluation comes first when the run goes on."""
    config = dataclasses.replace(SMALL, env_steps=96, eval_every=32, checkpoint_every=32)
    train(config, tmp_path / "whole")
    step = train.__globals__["Run"].step

    def interrupted(run):
        latest = step(run)
        if run.folder.name == "stopped" and run.learner.env_steps in (64, 96):
            os.kill(os.getpid(), signal.SIGINT)
        return latest

    monkeypatch.setattr(train.__globals__["Run"], "step", interrupted)
    for number in (0, 1):
        with pytest.raises(Stopped):
            train(config, tmp_path / "stopped", resume=bool(number))
    scores = train(config, tmp_path / "stopped", resume=True)
    assert without_time(tmp_path / "stopped") == without_time(tmp_path / "whole") and "finished" in scores
    for which in ("best", "latest"):
        assert load(tmp_path / "stopped" / which).step == load(tmp_path / "whole" / which).step
    with pytest.raises(ValueError, match="The run is at step 96 of 96"):
        train(config, tmp_path / "stopped", resume=True)


def test_what_a_resumed_run_keeps_is_named(tmp_path):
    changed = dataclasses.replace(SMALL, seed=2, ppo=dataclasses.replace(SMALL.ppo, gamma=0.5), env_steps=10**6)
    with pytest.raises(ValueError, match=r"keeps its seed, ppo\.gamma; what may"):
        check_resumable(SMALL, changed)


# ------------------------------------------------------------------------------------------------- full disks and clocks


def test_a_full_disk_is_told_with_the_file_and_leaves_nothing_behind(tmp_path):
    save_to_run(tmp_path, 1, {}, X)
    (tmp_path / ".tmp-step-000000002-1").mkdir()  # of an earlier one that was killed
    with files_up_to(8192), pytest.raises(CheckpointError, match=r"step-000000002 cannot be written: File too large\."):
        save_to_run(tmp_path, 2, {}, X)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-000000001"] and load(tmp_path).step == 1
    with files_up_to(5), pytest.raises(CheckpointError, match="best cannot be written"):
        checkpoint._point(tmp_path, "best", "step-000000001")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-000000001"]
    save_to_run(tmp_path, 2, {}, X)
    assert load(tmp_path).step == 2


def test_a_training_on_a_full_disk_ends_with_a_sentence_and_goes_on_later(tmp_path):
    train(dataclasses.replace(SMALL, env_steps=64), tmp_path / "run")
    size = (tmp_path / "run" / "metrics.jsonl").stat().st_size
    refused = pytest.raises(ValueError, match=r"(metrics.jsonl|step-\d+) cannot be written: File too large\.")
    with files_up_to(size + 10), refused, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TensorBoard's file is not complete: File too large")
        train(SMALL, tmp_path / "run", resume=True)
    train(SMALL, tmp_path / "run", resume=True)
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [32, 64, 96, 128]


def test_a_clock_that_goes_back_costs_no_checkpoint(tmp_path):
    for step in range(1, 7):
        save_to_run(tmp_path, step, {}, X)
        os.utime(tmp_path / f"step-{step:09d}", (10**9 - step, 10**9 - step))
        kept = [path.name for path in sorted(tmp_path.glob("step-*"))]
        assert kept == [f"step-{s:09d}" for s in range(max(1, step - 1), step + 1)]


@pytest.mark.parametrize("file", ["config.json", "policy.safetensors", "trainer.pt"])
def test_a_torn_latest_checkpoint_costs_no_run(file, tmp_path):
    train(SMALL, tmp_path / "run")
    torn = load(tmp_path / "run", which="latest").folder / file
    torn.write_bytes(torn.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=f"{file}.* The run goes on from the whole checkpoint before it, .*step-000000064"):
        assert run_to_resume(tmp_path / "run")[1] == SMALL
    with pytest.warns(UserWarning, match="whole checkpoint before"):
        train(SMALL, tmp_path / "run", resume=True)
    assert load_to_resume(tmp_path / "run", lambda config: None).step == SMALL.env_steps
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [32, 64, 96, 128]
