"""What a bot starts ends with it, whatever it does to stay and whatever happens to the runner; memory is limited; nothing leaks."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arena.match import play_match
from tests.processes import living

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are followed, and processes counted, the Linux way")

# notes every process of it; bids, and places nothing; does something odd at the start or at step 2
BOT = """#!{python} -IS
import json, os, signal, sys, time
def note():
    with open(__file__ + ".pid", "a") as file:
        file.write(str(os.getpid()) + chr(10))
def leave(more=lambda: None):
    # a child in a session of its own, whose parent ends: the way to become a daemon
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            note()
            more()
            time.sleep(600)
        os._exit(0)
    os.wait()
    time.sleep(0.1)
note()
{start}
for line in sys.stdin:
    step = json.loads(line)["step"]
    answer = {{"faction": "AlphaStrike", "bid": 0}} if step == 0 else {{}}
    if step == 2:
        {fault}
    print(json.dumps(answer), flush=True)
"""


def bot(folder: Path, start: str = "", fault: str = "pass") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "bot"
    path.write_text(BOT.format(python=sys.executable, start=start, fault=fault))
    path.chmod(0o755)
    return path


def noted(path: Path) -> list[int]:
    return [int(word) for word in path.with_name(path.name + ".pid").read_text().split()]


LEAVING = {
    "lost all factories": "leave()",
    "crashed (exit code 3)": "leave(); sys.exit(3)",
    "was killed by signal 9 (SIGKILL)": "leave(); os.kill(os.getpid(), 9)",
    "was killed with its whole process group": "leave(); os.killpg(0, 15)",
    "timed out after": "leave(); time.sleep(600)",
    "printed junk": "leave(lambda: os.write(1, b'no JSON' + bytes([10]))); time.sleep(600)",
    "closed its stdout": "leave(lambda: os.close(1)); os.close(1); time.sleep(600)",
    "ended before the match was over": "leave(); sys.exit(0)",  # its child keeps the pipes open
}


@pytest.mark.parametrize("reason", LEAVING)
def test_a_child_that_left_for_a_session_of_its_own_ends_with_the_match(reason: str, tmp_path: Path) -> None:
    path = bot(tmp_path / "a", fault=LEAVING[reason])
    result = play_match(path, bot(tmp_path / "b"), seed=1, map_size=16, time_per_turn=0.8, overage=1.0)
    assert reason in str(result.left.error), result.reason
    assert len(noted(path)) == 2 and not living(path.parent)


def test_a_fork_bomb_ends_with_the_match(tmp_path: Path) -> None:
    """Children of children, each of which waits a moment and goes on; at most some hundreds at a time."""
    bomb = "\nif os.fork() == 0:\n    os.setsid()\n    end = time.time() + 20\n    while time.time() < end:\n        time.sleep(0.01)\n"
    bomb += "        if os.fork() != 0:\n            os._exit(0)\n        note()\n    os._exit(0)"
    path = bot(tmp_path / "a", start=bomb, fault="time.sleep(0.3)")
    play_match(path, bot(tmp_path / "b"), seed=1, map_size=16)
    assert len(noted(path)) > 5 and not living(path.parent)
    count = len(noted(path))
    time.sleep(0.2)
    assert len(noted(path)) == count


HOGS = {
    "itself": "hog = bytearray(300 << 20); hog[::4096] = bytes(300 << 8); time.sleep(600)",
    "a child of it": "leave(lambda: globals().update(hog=b'x' * (300 << 20))); time.sleep(600)",
    "many children": "[leave(lambda: globals().update(hog=b'x' * (60 << 20))) for _ in range(4)]; time.sleep(600)",
}


@pytest.mark.parametrize("who", HOGS)
def test_too_much_memory_loses(who: str, tmp_path: Path) -> None:
    path = bot(tmp_path / "a", fault=HOGS[who])
    result = play_match(bot(tmp_path / "b"), path, seed=1, map_size=16, time_per_turn=20, memory_limit=150)
    assert result.winner == "left" and "MiB of memory (150 MiB are allowed)" in str(result.right.error), result.reason
    assert 0 < result.left.memory_mib < 150
    assert not living(path.parent)


def test_memory_that_is_shared_counts_once(tmp_path: Path) -> None:
    path = bot(tmp_path / "a", start="hog = b'x' * (60 << 20)", fault="leave(); leave(); leave(); time.sleep(0.5)")
    result = play_match(path, bot(tmp_path / "b"), seed=1, map_size=16, memory_limit=150)
    assert result.left.error == "lost all factories" and 60 < result.left.memory_mib < 150, result.reason


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    path = bot(tmp_path / "a")
    path.write_text("#!/nowhere/python\n")
    result = play_match(path, bot(tmp_path / "b"), seed=1, map_size=16)
    assert result.reason == "left could not be started: No such file or directory."


def test_a_bot_gets_the_signals_that_it_would_have_from_a_shell(tmp_path: Path) -> None:
    """Python ignores SIGPIPE; what it starts must not."""
    shell = bot(tmp_path / "b")
    shell.write_text("#!/bin/sh\ngrep SigIgn /proc/self/status >&2\nexit 3\n")
    result = play_match(bot(tmp_path / "a"), shell, seed=1, map_size=16)
    ignored = int(str(result.right.error).split("SigIgn:")[1].split()[0].rstrip("."), 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1)), result.reason


@pytest.mark.parametrize("hang", ["time.sleep(600)", "leave(); time.sleep(600)"])
def test_a_killed_runner_leaves_nobody_behind(hang: str, tmp_path: Path) -> None:
    paths = bot(tmp_path / "a", fault=hang), bot(tmp_path / "b")
    code = f"from arena.match import play_match; play_match({str(paths[0])!r}, {str(paths[1])!r}, seed=1, overage=500)"
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    expected = 1 + ("leave" in hang)
    deadline = time.monotonic() + 60
    pids = [path.with_name("bot.pid") for path in paths]
    while time.monotonic() < deadline and not (all(p.exists() for p in pids) and len(noted(paths[0])) == expected and noted(paths[1])):
        time.sleep(0.05)
    time.sleep(0.5)
    started = [*noted(paths[0]), *noted(paths[1])]
    assert len(started) == expected + 1 and living(tmp_path / "a") and living(tmp_path / "b")
    runner.kill()
    runner.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (living(tmp_path / "a") or living(tmp_path / "b")):
        time.sleep(0.05)
    assert not (living(tmp_path / "a") or living(tmp_path / "b"))


def measured() -> tuple[int, int, int]:
    """Open files, children and MiB in memory of this process."""
    gc.collect()
    tasks = Path("/proc/self/task").iterdir()
    children = sum(len((task / "children").read_text().split()) for task in tasks)
    return (
        len(os.listdir("/proc/self/fd")),
        children,
        int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20,
    )


@pytest.mark.slow
def test_five_hundred_matches_leave_nothing_behind(tmp_path: Path) -> None:
    """Good and bad bots in turn: no process, no open file, and not more memory than after the first fifty."""
    kinds = {
        "good": "pass",
        "crash": "1 / 0",
        "junk": "print('thinking')",
        "silent end": "sys.exit(0)",
        "flood": "sys.stderr.write('e' * 1000000); sys.stdout.write('x' * 3000000)",
        "daemon": "leave()",
        "kill": "leave(); os.kill(os.getpid(), 9)",
        "null": "answer = None",
        "slow": "time.sleep(600)",
    }
    bots = [bot(tmp_path / name, fault=fault) for name, fault in kinds.items()]
    before = (0, 0, 0)
    verdicts: dict[str, set[str]] = {name: set() for name in kinds}
    for match in range(500):
        if match == 50:
            before = measured()
        index = match % len(bots)
        time_per_turn = 0.5 if bots[index].parent.name == "slow" else 10.0
        result = play_match(
            bots[index], bots[0], seed=match % 7, map_size=12, time_per_turn=time_per_turn, overage=0.0, log_dir=tmp_path / "logs"
        )
        verdicts[bots[index].parent.name].add(" ".join(str(result.left.error).split()[:2]))
    after = measured()
    print(f"open files, children, MiB in memory: {before} after 50 matches, {after} after 500")
    assert after[:2] == before[:2] and after[2] <= before[2] + 20
    assert not any(living(path.parent) for path in bots)
    assert all(len(said) == 1 for said in verdicts.values()), verdicts
