"""The match runner: every misbehaviour has its verdict, no process outlives a match, replays play again to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.scripted.miner.bot import Miner
from agent.scripted.protocol import View, plain
from arena.match import LOST, PLAYERS, Referee, env_settings, play_match
from arena.players import open_player
from arena.process import LOG_LIMIT
from arena.replay import read_replay, write_replay
from tests.processes import living

ROOT = Path(__file__).resolve().parents[2]

# bids, places nothing, and does something odd at step 3, which is in the opening of every map
PASSIVE = """
import json, os, subprocess, sys, time
open(sys.argv[0] + ".pid", "a").write(str(os.getpid()) + "\\n")
{start}
for line in sys.stdin:
    message = json.loads(line)
    step, answer = message["step"], {{}}
    if step == 0:
        answer = {{"faction": "AlphaStrike", "bid": 0}}
    if step == {at}:
        {fault}
    print(json.dumps(answer), flush=True)
"""

# places its factories like `idle`, builds robots, and sends `order` at the third real turn
BUILDER = """
import os, sys
open(sys.argv[0] + ".pid", "a").write(str(os.getpid()) + "\\n")
sys.path.insert(0, {root!r})
from agent.scripted.idle.main import act
from agent.scripted.protocol import serve_view
def builder(view):
    if view.real_step < 0:
        return act(view)
    robots, factories = list(view.robots(view.player)), list(view.factories(view.player))
    if view.real_step == 0:
        return {{name: 1 for name in factories}}
    if view.real_step == 3:
        robot, factory = robots[0], factories[0]
        return {order}
    return {{}}
serve_view(builder)
"""

# a miner that also waters, so that lichen grows
GARDENER = """
import sys
sys.path.insert(0, {root!r})
from agent.scripted.miner.bot import Miner
from agent.scripted.protocol import serve_view
miner = Miner()
def gardener(view):
    orders = miner.act(view)
    if view.real_step >= 0:
        for name, factory in view.factories(view.player).items():
            if name not in orders and factory["cargo"]["water"] > 60:
                orders[name] = 2
    return orders
serve_view(gardener)
"""


def passive(folder: Path, fault: str = "pass", at: int = 3, start: str = "") -> Path:
    path = folder / "bot.py"
    path.write_text(PASSIVE.format(start=start, at=at, fault=fault))
    return path


def written(folder: Path, text: str, **values: object) -> Path:
    path = folder / "bot.py"
    path.write_text(text.format(root=str(ROOT), **values))
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A bot that does nothing wrong; what both bots leave behind is checked by pid."""
    folder = tmp_path / "other"
    folder.mkdir()
    return passive(folder)


FAULTS = {
    "crash at start": ({"start": "raise RuntimeError('boom')"}, "crashed (exit code 1): RuntimeError: boom"),
    "crash in turn 3": ({"fault": "1 / 0"}, "crashed (exit code 1): ZeroDivisionError"),
    "silent end": ({"fault": "sys.exit(0)"}, "ended before the match was over (exit code 0)"),
    "killed": ({"fault": "os.kill(os.getpid(), 9)"}, "was killed by signal 9 (SIGKILL)"),
    "hang": ({"fault": "time.sleep(1000)"}, "timed out after"),
    "hang without reading": ({"start": "time.sleep(1000)"}, "timed out after"),
    "hang with stdout closed": ({"fault": "os.close(1); time.sleep(1000)"}, "closed its stdout"),
    "hang with stdin closed": ({"fault": "os.close(0); time.sleep(1000)"}, "timed out after"),
    "busy loop ignoring signals": (
        {"start": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", "fault": "\n        while True: pass"},
        "timed out after",
    ),
    "junk line": ({"fault": "print('thinking...')"}, "printed"),
    "empty line": ({"fault": "print()"}, "printed"),
    "two answers": ({"fault": r"sys.stdout.write('{}\n{}\n'); sys.stdout.flush(); time.sleep(5)"}, "printed more than one line: {}"),
    "not UTF-8": ({"fault": r"os.write(1, b'\xff\xfe\n'); time.sleep(5)"}, "printed junk"),
    "cut JSON": ({"fault": "print('{\"unit_1\": [')"}, "printed"),
    "deeply nested JSON": ({"fault": "print('[' * 100000, flush=True); time.sleep(5)"}, "printed junk"),
    "huge line": ({"fault": "sys.stdout.write('x' * 100_000_000)"}, "printed a line longer than"),
    "endless output": ({"fault": "\n        while True: print('y' * 1000)"}, "printed"),
    "a list": ({"fault": "answer = [1, 2]"}, "answered with a JSON list"),
    "a number": ({"fault": "answer = 3"}, "answered with a JSON int"),
    "null": ({"fault": "answer = None"}, "answered with a JSON NoneType"),
    "unknown faction": ({"at": 0, "fault": "answer = {'faction': 'Nobody', 'bid': 0}"}, "sent an invalid action"),
    "no bid": ({"at": 0, "fault": "answer = {}"}, "sent no bid"),
    "bid too high": ({"at": 0, "fault": "answer = {'faction': 'AlphaStrike', 'bid': 100000}"}, "sent an invalid action"),
    "bid of words": ({"at": 0, "fault": "answer = {'faction': 'AlphaStrike', 'bid': 'all'}"}, "sent an invalid action"),
    "ragged spawn": ({"fault": "answer = {'spawn': [[1], [2, 3]], 'water': 1, 'metal': 1}"}, "sent an invalid action"),
    "negative spawn": ({"fault": "answer = {'spawn': [-5, -5], 'water': 1, 'metal': 1}"}, "is off the map"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_side_loses_with_the_reason(fault: str, tmp_path: Path, other: Path) -> None:
    changes, reason = FAULTS[fault]
    bot = passive(tmp_path, **changes)
    players = (bot, other) if len(fault) % 2 else (other, bot)
    faulty = "left" if len(fault) % 2 else "right"
    result = play_match(*players, seed=1, time_per_turn=0.6, overage=0.4)
    assert result.winner == ("right" if faulty == "left" else "left"), result.reason
    assert result.reason.startswith(f"{faulty} {reason}") or reason in result.reason
    assert getattr(result, faulty).error and getattr(result, result.winner).error is None
    assert result.turns == 0  # it happened in the opening, and nobody was asked again
    assert living(tmp_path) == [] and living(other.parent) == []


INVALID = {
    "unknown robot": "{'unit_999': [[0, 1, 0, 0, 0, 1]]}",
    "unknown type": "{robot: [[9, 0, 0, 0, 0, 1]]}",
    "n of 0": "{robot: [[0, 1, 0, 0, 0, 0]]}",
    "ragged queue": "{robot: [[0, 1, 0, 0, 0, 1], [0, 1]]}",
    "queue of words": "{robot: ['north']}",
    "a number for a robot": "{robot: 3}",
    "a word for a robot": "{robot: 'north'}",
    "an object for a robot": "{robot: {'move': 1}}",
    "null for a robot": "{robot: None}",
    "too many entries": "{robot: [[0, 1, 0, 0, 0, 1]] * 21}",
    "list for a factory": "{factory: [1, 2]}",
    "unknown factory order": "{factory: 7}",
    "float for a factory": "{factory: 0.5}",
    "huge number": "{robot: [[0, 10**30, 0, 0, 0, 1]]}",
    "enemy's factory": "{name: 1 for name in view.factories(view.opponent)}",
}


@pytest.mark.parametrize("order", INVALID)
def test_an_action_that_the_engine_rejects_loses(order: str, tmp_path: Path) -> None:
    bot = written(tmp_path, BUILDER, order=INVALID[order])
    result = play_match("idle", bot, seed=2)
    assert (result.winner, result.turns <= 4) == ("left", True), result.reason
    assert result.reason.startswith("right sent an invalid action"), result.reason
    assert living(tmp_path) == []


def test_valid_oddities_lose_nothing(tmp_path: Path) -> None:
    """What the engine accepts is no fault: an empty queue, floats that truncate, the largest amount."""
    order = "{robots[0]: [], robots[1]: [[1, 0, 4, 3001, 0, 1]], factory: 2}"
    result = play_match("idle", written(tmp_path, BUILDER, order=order), seed=2)
    assert result.turns > 100 and "invalid" not in result.reason


def test_stderr_is_kept_up_to_a_cap_and_harms_nobody(tmp_path: Path, other: Path) -> None:
    bot = passive(tmp_path, fault="sys.stderr.write(('e' * 99 + chr(10)) * 200_000)")
    result = play_match(bot, other, seed=1, log_dir=tmp_path / "logs")
    assert result.winner == "draw" and result.reason == "left lost all factories and right lost all factories."
    assert (tmp_path / "logs" / "left.log").stat().st_size == LOG_LIMIT
    assert (tmp_path / "logs" / "right.log").stat().st_size == 0


def test_the_overage_pool_pays_for_long_turns_until_it_is_empty(tmp_path: Path, other: Path) -> None:
    patient = passive(tmp_path, at=-1, start="seen = []", fault="pass")
    text = patient.read_text().replace("    print(json", "    time.sleep(0.3 if 1 <= step <= 2 else 0)\n    print(json")
    patient.write_text(text)
    result = play_match(patient, other, seed=1, time_per_turn=0.2, overage=5.0)
    assert result.left.error == "lost all factories"
    assert 4.0 < result.left.overage_left <= 4.8 and 4.5 < result.right.overage_left <= 5.0
    assert 300 <= result.left.turn_ms_max < 2000
    short = play_match(patient, other, seed=1, time_per_turn=0.2, overage=0.15)
    assert short.left.error is not None and short.left.error.startswith("timed out")


def test_children_of_a_bot_end_with_the_match(tmp_path: Path, other: Path) -> None:
    start = "child = subprocess.Popen(['sleep', '600']); open(sys.argv[0] + '.pid', 'a').write(str(child.pid) + chr(10))"
    play_match(passive(tmp_path, start=start, fault="sys.exit(3)"), other, seed=1)
    assert len((tmp_path / "bot.py.pid").read_text().split()) == 2
    deadline = time.time() + 5
    while living(tmp_path) and time.time() < deadline:
        time.sleep(0.05)  # an orphan is reaped by init
    assert living(tmp_path) == []


def test_an_interrupted_match_leaves_no_process(tmp_path: Path, other: Path) -> None:
    bot = passive(tmp_path, fault="time.sleep(1000)")
    # a shell's background job ignores Ctrl-C, and so would a runner that it starts
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from arena.match import play_match; "
    code += f"play_match({str(bot)!r}, {str(other)!r}, seed=1, overage=500)"
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE)
    pids = (tmp_path / "bot.py.pid", other.parent / "bot.py.pid")
    deadline = time.time() + 20
    while not all(path.exists() and path.read_text().strip() for path in pids) and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    runner.send_signal(signal.SIGINT)
    _, errors = runner.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors and runner.returncode != 0
    assert [living(path.parent) for path in pids] == [[], []]


def test_both_failing_in_the_same_turn_is_a_draw(tmp_path: Path, other: Path) -> None:
    other.write_text(other.read_text().replace("        pass", "        sys.exit(4)"))
    result = play_match(passive(tmp_path, fault="print('oops')"), other, seed=1)
    assert result.winner == "draw" and "left printed" in result.reason and "right crashed (exit code 4)" in result.reason


def test_idle_runs_dry_and_the_miner_lives(tmp_path: Path) -> None:
    seen: list[int] = []
    result = play_match("idle", "miner", seed=3, log_dir=tmp_path, progress=lambda turn, sides: seen.append(turn))
    assert (result.winner, result.reason, result.turns) == ("right", "left lost all factories.", 151)
    assert result.right.factories == result.right.robots > 0 and result.left.factories == 0
    assert seen[-1] == 151 and seen == sorted(seen)
    mirrored = play_match("miner", "idle", seed=3)
    assert (mirrored.winner, mirrored.turns) == ("left", 151)
    assert json.loads(json.dumps(result.as_dict()))["right"]["name"] == "miner"


def drive(referee: Referee, turns: int, gardening: bool) -> None:
    """Two in-process miners until the real turn `turns`; every board of every view equals the engine's, every turn."""
    views, miners = {player: View() for player in PLAYERS}, {player: Miner() for player in PLAYERS}
    while referee.turns < turns and not referee.done:
        actions = {}
        for player in PLAYERS:
            info = {"env_cfg": referee.env_cfg} if referee.step == 0 else {}
            view = views[player]
            obs = json.loads(referee.observation)
            view.update({"obs": obs, "step": referee.step, "remainingOverageTime": 60, "player": player, "reward": 0, "info": info})
            whole = referee.env.state.get_obs()
            for name in ("rubble", "lichen", "lichen_strains", "ice", "ore", "valid_spawns_mask"):
                if name in ("ice", "ore") and view.real_step < 0:
                    continue  # the engine takes resources under a new factory away without telling; no factory stands on one
                if name == "valid_spawns_mask" and view.real_step >= 0:
                    continue  # told during the opening only
                assert np.array_equal(view.boards[name], whole["board"][name]), name
            assert plain(whole["units"]) == obs["units"] and plain(whole["factories"]) == obs["factories"]
            actions[player] = plain(miners[player].act(view))
            if gardening and view.real_step >= 0:
                for name, factory in view.factories(player).items():
                    if name not in actions[player] and factory["cargo"]["water"] > 60:
                        actions[player][name] = 2
        assert referee.play(actions) == {}


def test_deltas_add_up_to_the_official_observation() -> None:
    referee = Referee(5, env_settings(48))
    drive(referee, 160, gardening=True)
    assert referee.env.state.board.lichen.sum() > 0


def resimulate(replay: dict) -> tuple[Any, dict[str, float]]:
    """(final official observation, rewards) of the replay's actions played again on the official engine."""
    from luxai_s2 import LuxAI_S2
    from luxai_s2.config import UnitConfig

    settings = json.loads(json.dumps(replay["env_cfg"]))
    settings["ROBOTS"] = {name: UnitConfig(**values) for name, values in settings["ROBOTS"].items()}
    env = LuxAI_S2(**settings)
    env.reset(seed=replay["metadata"]["seed"])
    rewards = {}
    for actions in replay["actions"]:
        for action in actions.values():
            for name, value in action.items():
                action[name] = np.array(value) if isinstance(value, list) else value
        _, rewards, _, _, _ = env.step(actions)
    return env.state.get_obs(), rewards


@pytest.mark.parametrize("name", ["match.json", "match.json.gz"])
def test_a_replay_plays_again_to_the_same_end(name: str, tmp_path: Path) -> None:
    result = play_match(written(tmp_path, GARDENER), "idle", seed=4, replay=tmp_path / "deep" / name)
    assert result.replay == str(tmp_path / "deep" / name) and result.left.lichen > 0
    replay = read_replay(tmp_path / "deep" / name)
    assert len(replay["observations"]) == len(replay["actions"]) + 1
    whole, rewards = resimulate(replay)
    boards = View()
    for step, obs in enumerate(replay["observations"]):
        boards.update({"obs": obs, "step": step, "remainingOverageTime": 0, "player": "player_0", "info": {}})
    assert np.array_equal(boards.boards["lichen"], whole["board"]["lichen"])
    assert np.array_equal(boards.boards["rubble"], whole["board"]["rubble"])
    assert int(rewards["player_0"]) == result.left.lichen and rewards["player_1"] == LOST
    assert replay["observations"][-1]["units"] == plain(whole["units"])
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [name]


def test_the_same_match_gives_the_same_replay(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        play_match("miner", "idle", seed=6, replay=tmp_path / name)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_damaged_replays_are_refused(tmp_path: Path) -> None:
    path = write_replay(tmp_path / "r.json.gz", ["{}"] * 50, ["{}"] * 49, {"seed": 1}, {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="not a whole replay"):
        read_replay(path)
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ValueError, match="not a replay of ours"):
        read_replay(tmp_path / "x.json")
    with pytest.raises(ValueError, match="cannot be read"):
        read_replay(tmp_path / "none.json")


@pytest.mark.parametrize(("size", "seed", "words"), [(7, 1, "map size is 7"), (65, 1, "map size is 65"), (48, -1, "seed is -1")])
def test_wrong_arguments_are_sentences(size: int, seed: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        play_match("idle", "idle", seed=seed, map_size=size)


def test_a_replay_that_cannot_be_written_is_said(tmp_path: Path, other: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be made"):
        play_match(other, other, seed=1, replay=tmp_path / "file" / "r.json")


def test_a_player_may_be_opened_once_for_many_matches(other: Path) -> None:
    with open_player(other) as player:
        results = [play_match(player, player, seed=seed) for seed in (1, 2)]
    assert [result.winner for result in results] == ["draw", "draw"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files the Linux way")
def test_matches_leave_no_open_files(tmp_path: Path, other: Path) -> None:
    bot = passive(tmp_path, fault="sys.exit(1)")
    play_match(bot, other, seed=1, log_dir=tmp_path / "logs")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        play_match(bot, other, seed=1, log_dir=tmp_path / "logs")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
@pytest.mark.parametrize("size", [48, 64])
def test_lichen_decides_a_whole_match(size: int, tmp_path: Path) -> None:
    result = play_match(written(tmp_path, GARDENER), "miner", seed=1, map_size=size, replay=tmp_path / "r.json.gz")
    assert (result.winner, result.turns) == ("left", 1000), result.reason
    assert result.left.lichen > 0 == result.right.lichen
    whole, rewards = resimulate(read_replay(tmp_path / "r.json.gz"))
    assert [int(rewards[player]) for player in PLAYERS] == [result.left.lichen, 0]
