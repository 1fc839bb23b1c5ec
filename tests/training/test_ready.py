"""Before the first step: everything is compiled, which is said, and counted in no clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine import notice
from engine.config import GameConfig
from engine.jit import is_compiled
from engine.maps import MANY, MapPool
from training.run.progress import Clock

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from pathlib import Path
from engine.code_cache import CodeCache
from training.config import PPOConfig, QConfig, TrainConfig
from training.run.ready import get_ready
from training.tasks import learner as tasks
from training.train import throw_away, train

asked = []
load = CodeCache.load_overload
CodeCache.load_overload = lambda self, *rest: asked.append(self.name) or load(self, *rest)
small = {"env_steps": 64, "map_size": 16, "train_maps": 2, "eval_maps": 1, "max_turns": 20}
config = TrainConfig(**small, ppo=PPOConfig(num_games=4, rollout_steps=8, minibatches=2))
kinds = ("lights", "heavies", "watering", "building")
few = {"map_size": 16, "iterations": 1, "games": 2, "evaluate_games": 2}
learned = tasks.Options(kinds=kinds, bare=True, objective="growth", **few)
get_ready(throw_away, config)
tasks.get_ready(learned)
print(len(asked))
asked.clear()
train(config, Path(sys.argv[1]) / "run")
tasks.learn(learned, Path(sys.argv[1]) / "tasks")
print(asked)
"""


@pytest.mark.skipif(not is_compiled(), reason="compiles")
def test_a_run_that_is_ready_compiles_nothing(tmp_path):
    result = subprocess.run([sys.executable, "-c", RUN, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert int(lines[0]) > 10 and lines[-1] == "[]", lines


def test_maps_are_told_of_where_no_bar_shows_them(tmp_path, capsys):
    notice.tell.cache_clear()
    config = GameConfig(map_size=12, min_factories=1, max_factories=1)
    MapPool(config, range(MANY - 1), tmp_path / "few")
    assert capsys.readouterr().err == ""
    MapPool(config, range(MANY), tmp_path / "many")
    assert "Making 100 maps of 12x12 cells: about 1 s" in capsys.readouterr().err
    MapPool(config, range(MANY), tmp_path / "many")
    assert capsys.readouterr().err == ""


def test_one_process_of_several_speaks_and_once(capsys, monkeypatch):
    notice.tell.cache_clear()
    monkeypatch.setenv("LOCAL_RANK", "1")
    notice.tell("rank 1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    for _ in range(2):
        notice.tell("rank 0")
    assert capsys.readouterr().err == "rank 0\n"


def test_a_clock_that_starts_again_has_forgotten():
    clock = Clock()
    with clock("update"):
        sum(range(100_000))
    clock.restart()
    with clock("engine"):
        sum(range(100_000))
    split = clock.split()
    assert split["update"] == 0 < split["engine"] and abs(sum(split.values()) - 1) < 1e-9
