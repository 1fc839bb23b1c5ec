"""The command line: help that teaches, and wrong inputs that get a sentence and exit code 2."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.stored import header_text
from commands import VERBS
from main import main
from training.config import PPOConfig, TrainConfig
from training.train import train


def run(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in this process, which spares a second or two of imports."""
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(cwd or before)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(list(argv))
    except SystemExit as ended:  # of the options' own reader
        code = ended.code
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(argv, int(code or 0), out.getvalue(), err.getvalue())


def start(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line as a user starts it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}
    path = Path(__file__).resolve().parents[2] / "main.py"
    return subprocess.run([sys.executable, str(path), *argv], capture_output=True, text=True, timeout=300, env=environment, cwd=cwd)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one iteration."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    ppo = PPOConfig(num_games=4, rollout_steps=8, epochs=1, minibatches=1)
    train(TrainConfig(env_steps=32, train_maps=4, eval_every=10**9, eval_maps=1, ppo=ppo, device="cpu"), folder)
    return folder


def test_help_names_every_verb():
    result = start("--help")
    assert result.returncode == 0
    told = dict(re.findall(r"^  (\w+) +(\S.*)", result.stdout, re.MULTILINE))
    assert tuple(told) == VERBS and all(len(summary) > 20 for summary in told.values())


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb):
    result = run(verb, "--help")
    assert result.returncode == 0 and "usage: main.py " + verb in result.stdout


@pytest.mark.parametrize("words", ["--help", "replay --help"])
def test_help_does_not_wait_for_torch(words):
    code = f"""
import sys, main
try:
    main.main({words.split()})
except SystemExit:
    pass
assert not {{"torch", "numba"}} & set(sys.modules)
"""
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fly"], "There is no verb 'fly'; accepted are demo, train"),
        (["demo", "--env-steps", "5"], "--env-steps is of --preset full and demo"),
        (["train", "--preset", "x"], "There is no preset 'x'; accepted are demo, paper"),
        (["train", "--wings", "2"], "--wings"),
        (["train", "--env-steps", "0"], "env_steps is 0; it must be at least 1"),
        (["train", "--seed", "-1"], "seed is -1; it must be at least 0"),
        (["train", "--league.scripted", "miner"], "league.share is 0, so that nobody meets miner"),
        (["imitate", "--seed", "-1"], "seed is -1; it must be at least 0"),
        (["bench", "engine", "--seconds", "-1"], "seconds is -1.0; accepted are"),
        (["train", "--map-size", "7"], "map_size is 7; accepted are 12 to 64"),
        (["train", "--resume", "--run-dir", "nowhere"], "nowhere is no folder"),
        (["evaluate", "nowhere"], "nowhere is no folder"),
        (["evaluate", "latest", "--opponent", "nobody"], "Opponent 'nobody' does not exist; accepted are "),
        (["evaluate", "latest"], "There is no run with a checkpoint"),
        (["package", "nowhere"], "nowhere is no folder"),
        (["play", "idle", "nobody"], "Player 'nobody' does not exist"),
        (["play", "idle", "idle", "--map-size", "7"], "The map size is 7; accepted are 12 to 64"),
    ],
)
def test_wrong_input_gets_a_sentence(argv, words, tmp_path):
    result = run(*argv, cwd=tmp_path)
    assert result.returncode == 2
    assert words in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())  # and leaves nothing behind


def test_wrong_input_ends_the_process_with_2(tmp_path):
    result = start("evaluate", "nowhere", cwd=tmp_path)
    assert result.returncode == 2 and "nowhere is no folder" in result.stderr and not result.stdout


def test_evaluate_and_package_a_run(trained, tmp_path):
    result = start("evaluate", str(trained), "--maps", "2", "--json", str(tmp_path / "scores.json"))
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert set(scores) == {"finished", "episode_length", "ice_transferred", "factories_alive", "lichen", "win_rate", "episodes"}
    assert scores["episodes"] == 2 and scores["win_rate"] == 0.5
    result = run("package", str(trained), "-o", str(tmp_path / "x.tar.gz"), "--no-verify")
    assert result.returncode == 0 and (tmp_path / "x.tar.gz").stat().st_size > 10_000


def test_evaluate_against_a_scripted_opponent(trained, tmp_path):
    result = run("evaluate", str(trained), "--maps", "2", "--opponent", "idle", "--json", str(tmp_path / "scores.json"))
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "scores.json").read_text())["episodes"] == 2


def test_damaged_checkpoints_are_told_and_left_alone(trained, tmp_path):
    run_dir = tmp_path / "run"
    folder = run_dir / "step-000000001"
    folder.mkdir(parents=True)
    source = trained / (trained / "latest").read_text().strip()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (run_dir / "latest").write_text(folder.name)
    whole = (folder / "policy.safetensors").read_bytes()
    (folder / "policy.safetensors").write_bytes(whole[:1000])
    result = run("evaluate", str(run_dir))
    assert result.returncode == 2 and "has 1000 bytes" in result.stderr
    (folder / "policy.safetensors").write_bytes(whole)
    header = json.loads((folder / "config.json").read_text())
    actions, ppo = header["config"]["actions"], header["config"]["train"]["ppo"]
    for part, words in ((actions, ["evaluate"]), (ppo, ["train", "--resume", "--run-dir"])):
        part["wings"] = 2
        (folder / "config.json").write_text(json.dumps(header))
        result = run(*words, str(run_dir))
        assert result.returncode == 2 and "config.json has changed since it was written" in result.stderr
        (folder / "config.json").write_text(header_text(header["step"], header["config"], header["files"]))
        result = run(*words, str(run_dir))
        assert result.returncode == 2 and "unknown: wings" in result.stderr
        del part["wings"]
    assert (folder / "policy.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--ppo.learning-rate", "0.5"], "A resumed run keeps its ppo.learning_rate; what may change is env_steps"),
        ([], "The run is at step 32 of 32; to go on, give a larger --env-steps"),
    ],
)
def test_resuming_says_what_it_cannot_do(trained, argv, words):
    result = run("train", "--resume", "--run-dir", str(trained), *argv)
    assert result.returncode == 2 and words in result.stderr


def test_the_demo_deletes_no_folder_of_others(tmp_path):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "mine.txt").write_text("mine")
    result = run("demo", "--run-dir", str(tmp_path / "keep"))
    assert result.returncode == 2 and "was not made by the demo" in result.stderr
    assert (tmp_path / "keep" / "mine.txt").read_text() == "mine"


def test_training_into_a_used_folder_is_refused(trained):
    before = {path: path.read_bytes() for path in trained.glob("*.jsonl")}
    result = run("train", "--run-dir", str(trained), "--env-steps", "32")
    assert result.returncode == 2 and "resume the run, or choose another run folder" in result.stderr
    assert before == {path: path.read_bytes() for path in trained.glob("*.jsonl")}
