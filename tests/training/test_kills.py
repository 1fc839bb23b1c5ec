"""A run that is killed again and again, in every way and inside the writing of checkpoints too, is the run that was never killed.

KILLS=50 pytest -m slow tests/training/test_kills.py
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_checkpoint import equal
from training.run.checkpoint import load
from training.run.metrics import read_metrics

MAIN = Path(__file__).resolve().parents[2] / "main.py"
KILLS = int(os.environ.get("KILLS", "6"))  # of each run
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ITERATION = 32  # environment steps
OPTIONS = f"--map-size 32 --max-turns 40 --train-maps 4 --device cpu --eval-every {8 * ITERATION} --eval-maps 1 --policy.width 16"
OPTIONS += f" --checkpoint-every {2 * ITERATION} --ppo.num-games 4 --ppo.rollout-steps 8 --ppo.minibatches 2"
LEAGUE = " --league.share 0.5 --league.scripted miner --league.min-games 2 --league.max-steps 256 --league.pool 7 --league.match-games 2"


def run(folder: Path, options: str, *more: str) -> subprocess.Popen[bytes]:
    """A training of so many iterations that every kill finds it at work."""
    steps = ["--env-steps", str(ITERATION * (8 + 6 * KILLS))]
    command = [sys.executable, str(MAIN), "train", *options.split(), *steps, "--run-dir", str(folder), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait(process: subprocess.Popen[bytes], there: Any) -> None:
    """Until `there()`, while the process lives."""
    deadline = time.monotonic() + 300
    while process.poll() is None and not there() and time.monotonic() < deadline:
        time.sleep(0.001)


def killed_on_its_way(folder: Path, options: str, rng: random.Random) -> int:
    """The same training, killed and resumed; returns how many of the kills came while a checkpoint was being written."""
    inside = 0
    for number in range(KILLS):
        resume = ["--resume"] if (folder / "latest").exists() else []
        process = run(folder, options, *resume)
        before = lines(folder)
        wait(process, lambda before=before: lines(folder) not in (0, before))  # it goes on
        goal = lines(folder) + rng.randrange(1, 5)
        wait(process, lambda goal=goal: lines(folder) >= goal)
        if number % 2:
            wait(process, lambda: any(folder.glob(".tmp-step-*")))
            inside += 1
        else:
            time.sleep(rng.uniform(0, 0.05))
        assert process.poll() is None, process.communicate()[0].decode()
        process.send_signal(SIGNALS[number % 3])
        process.communicate(timeout=120)
    process = run(folder, options, "--resume")
    told = process.communicate(timeout=600)[0].decode()
    assert process.returncode == 0, told
    return inside


def told(folder: Path) -> list[dict]:
    return [{name: value for name, value in line.items() if name not in ("time", "charts/SPS")} for line in read_metrics(folder)]


@pytest.mark.slow
@pytest.mark.parametrize("options", [OPTIONS, OPTIONS + LEAGUE], ids=["alone", "league"])
def test_a_run_that_is_killed_again_and_again_is_the_run_that_was_not(options, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = run(whole, options)
    told_whole = process.communicate(timeout=1200)[0].decode()
    assert process.returncode == 0, told_whole
    assert killed_on_its_way(killed, options, random.Random(1)) == KILLS // 2
    assert told(killed) == told(whole)
    for which in ("latest", "best"):
        one = load(whole / which)
        other = load(killed / which)
        assert one.step == other.step and all(torch.equal(one.policy_state[name], other.policy_state[name]) for name in one.policy_state)
        assert one.trainer_state["best_score"] == other.trainer_state["best_score"]
        assert equal(one.trainer_state.get("league"), other.trainer_state.get("league"))
        assert equal(one.trainer_state["optimizer"], other.trainer_state["optimizer"])
    assert not list(killed.glob(".tmp-*"))
