"""Other people's programs as opponents, teachers and league members on our engine: they are told what the judge tells."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agent.stored import load_agent
from arena.evaluate import Scripted, built_in, evaluate, opponent_named, scripted_named
from engine.config import GameConfig
from main import main
from training.config import LeagueConfig, PPOConfig, TrainConfig
from training.train import train

ROOT = Path(__file__).resolve().parents[2]
SHORT = GameConfig(map_size=16, min_factories=1, max_factories=2, max_episode_length=60)
# a stranger's bot that decides as the miner does, and is as strict about its messages as the official kits are
BOT = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
from agent.scripted.miner.main import make
from agent.scripted.protocol import View, plain

act, view, turns = make(), View(), 0
for line in sys.stdin:
    message = json.loads(line)
    assert message["step"] == turns and ("env_cfg" in message["info"]) == (turns == 0)
    board = message["obs"]["board"]
    assert all(isinstance(board[name], dict) == (turns > 0) for name in ("rubble", "lichen", "lichen_strains"))
    assert ("ice" in board) == (turns == 0) and message["remainingOverageTime"] <= 60
    view.update(message)
    print(json.dumps(plain(act(view))), flush=True)
    turns += 1
"""
CRASHES = BOT.replace("    view.update", "    assert message['obs']['real_env_steps'] < 5, 'no more'\n    view.update")
PPO = PPOConfig(num_games=4, rollout_steps=8, minibatches=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "stranger"
    path.mkdir()
    (path / "main.py").write_text(BOT)
    return path


def test_a_program_plays_as_the_same_agent_in_this_process(folder, tmp_path):
    agent = load_agent("shipped")[0]
    packed = tmp_path / "stranger.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(folder / "main.py", "main.py")
    inside = evaluate(agent, SHORT, [1, 2], built_in("miner"))
    for path in (folder, packed, folder / "main.py"):
        opponent = opponent_named(str(path))
        assert isinstance(opponent, Scripted)
        assert evaluate(agent, SHORT, [1, 2], opponent).games == inside.games


def test_a_program_that_crashes_has_lost(folder):
    (folder / "main.py").write_text(CRASHES)
    agent = load_agent("shipped")[0]
    with pytest.warns(UserWarning, match=r"The opponent failed \(Failure: crashed \(exit code 1\): AssertionError: no more"):
        result = evaluate(agent, SHORT, [1, 2], scripted_named(str(folder)))
    assert result.scores["win_rate"] == 1 and all(game.turns < 10 for game in result.games)
    (folder / "main.py").write_text("raise SystemExit(3)")
    with pytest.raises(ValueError, match=r"The opponent failed in its opening \(Failure: crashed \(exit code 3\)"):
        evaluate(agent, SHORT, [1], scripted_named(str(folder)))


def test_what_is_no_program_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="is not built in, and no program"):
        scripted_named(str(tmp_path))
    (tmp_path / "note.txt").write_text("no player")
    with pytest.raises(ValueError, match="is no player; accepted are"):
        scripted_named(str(tmp_path / "note.txt"))


def test_a_league_plays_against_a_program(folder, tmp_path):
    league = LeagueConfig(share=0.5, scripted=(str(folder),), hardness=0.0, distinct=1, match_games=2)
    short: dict[str, Any] = {"map_size": 16, "max_turns": 10, "train_maps": 2, "eval_maps": 1, "eval_every": 10**6}
    config = TrainConfig(env_steps=5 * 32, ppo=PPO, league=league, **short)
    train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any(f"league/win_rate/{folder}" in line for line in lines)


def test_a_program_teaches(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--games", "2", "--rounds", "0", "--epochs", "1", "--eval-maps", "0", "--lessons.map-size", "16", "--lessons.max-turns", "9"]
    assert main(["imitate", "--teacher", str(folder), "--run-dir", "pupil", *options]) == 0
    assert len(list(Path("pupil/lessons/round-0").glob("*.npz"))) == 2
