"""Agents that fight the match itself: forged verdicts, processes that stay, folders that cannot be removed, words that are no text."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

import arena.process
import arena.sandbox
from arena.match import MatchResult, play_match
from arena.process import Report, printable, read_report, signal_name
from arena.replay_page import write_page
from arena.replay_page.recording import read_recording
from commands.rate import run as rate
from commands.show import print_match
from submission.package import package
from submission.thoughts import read_thoughts
from tests.processes import living

ROOT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# bids, places nothing; does something odd at step 2
BOT = """import json, os, signal, sys, time
def daemon():
    if os.fork() == 0:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            open("daemon", "w").close()
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not os.path.exists("daemon"):
        time.sleep(0.01)
for line in sys.stdin:
    step = json.loads(line)["step"]
    answer = {{"faction": "AlphaStrike", "bid": 0}} if step == 0 else {{}}
    if step == {at}:
        {fault}
    print(json.dumps(answer), flush=True)
"""


def bot(folder: Path, fault: str = "pass", at: int = 2) -> Path:
    folder.mkdir(parents=True)
    path = folder / "bot.py"
    path.write_text(BOT.format(fault=fault, at=at))
    return path


def against(folder: Path, fault: str, at: int = 2, **options: Any) -> MatchResult:
    """A match of an odd bot on the left against one that does nothing wrong."""
    return play_match(bot(folder / "a", fault, at), bot(folder / "b"), seed=1, map_size=12, **options)


@pytest.fixture(params=["as it comes", "no namespace"])
def guarded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the namespace that the system permits, and as where it permits none."""
    if request.param == "no namespace":
        monkeypatch.setattr(arena.process, "NAMESPACE", False)
    return request.param


@pytest.mark.parametrize("number", [34, 40, 63, 64])
def test_every_signal_is_a_verdict(number: int, tmp_path: Path) -> None:
    result = against(tmp_path, f"os.kill(os.getpid(), {number}); time.sleep(60)")
    assert result.left.error == f"was killed by signal {number} ({signal_name(number)})"


JUNK = [
    "",
    "{}",
    "[]",
    "junk",
    "null",
    '{"code": "x"}',
    '{"code": 1, "peak": null}',
    '{"code": true}',
    '{"more": 1}',
    "[" * 100_000,
    "\udcff",
]


@pytest.mark.parametrize("said", JUNK)
def test_a_report_is_parsed_as_untrusted(said: str) -> None:
    assert read_report(said.encode("utf-8", "surrogateescape")) in (None, Report())
    assert read_report(b'{"code": -9, "peak": 7, "over": 8}\nmore') == Report(-9, 7, 8)


@LINUX
def test_a_report_cannot_be_forged(tmp_path: Path, guarded: str) -> None:
    """Every open file of every process that can be seen is offered a verdict of the bot's own."""
    fault = """
        for process in os.listdir('/proc'):
            for number in range(64):
                if not process.isdigit() or int(process) == os.getpid():
                    continue
                try:
                    kind = os.readlink('/proc/%s/fd/%d' % (process, number))
                    if process == str(os.getppid()):
                        open('reached', 'w').close()
                    if not kind.startswith(('pipe', 'socket')):
                        continue
                    end = os.open('/proc/%s/fd/%d' % (process, number), os.O_WRONLY | os.O_NONBLOCK)
                    os.write(end, b'{"error": "forged"}' + bytes([10]))
                    os.close(end)
                except OSError:
                    pass
        sys.exit(5)"""
    if guarded == "no namespace":  # this test's own files must not be written to
        fault = fault.replace("os.listdir('/proc')", "[str(os.getppid())]")
    result = against(tmp_path, fault)
    assert result.left.error == "crashed (exit code 5)"
    assert not (tmp_path / "a" / "reached").exists()


STAYING = {
    "kills its guard": "daemon(); os.kill(os.getppid(), 9); time.sleep(1)",
    "stops its guard": "daemon(); os.kill(os.getppid(), 19); sys.exit(1)",
    # in its namespace only: outside of one it would be everything there is
    "kills everything": "daemon(); os.kill(-1, 15) if os.getppid() == 1 and os.getpid() < 9 else os.kill(os.getppid(), 9); time.sleep(1)",
    "kills its group": "daemon(); os.killpg(0, 9); time.sleep(1)",
}


@LINUX
@pytest.mark.parametrize("how", STAYING)
def test_a_daemon_ends_with_the_match(how: str, tmp_path: Path, guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena.process, "GUARD_GRACE", 1.0)
    monkeypatch.setattr(arena.process, "EXIT_GRACE", 0.3)
    result = against(tmp_path, STAYING[how], time_per_turn=1.5, overage=0.0)
    assert (tmp_path / "a" / "daemon").exists() and living(tmp_path / "a") == []
    assert result.left.error and result.right.error in (None, "lost all factories")


WORDS = {
    "markup on stderr": "sys.exit('[/foo] [red]')",
    "escapes on stderr": "sys.exit('\\x1b]0;title\\x07 \\x1b[2J')",
    "a long line on stderr": "sys.exit('x' * 100000)",
    "markup as a faction": "answer = {'faction': '[/foo]', 'bid': 0}",
    "half a character as a faction": "answer = {'faction': chr(0xd800), 'bid': 0}",
    "escapes as a faction": "answer = {'faction': '\\x1b[2J', 'bid': 0}",
    "a long faction": "answer = {'faction': 'y' * 100000, 'bid': 0}",
    "escapes as junk": "print('\\x1b[2J')",
    "escapes as a spawn": "answer = {'spawn': ['\\x1b[2J', '[/foo]'], 'water': 1, 'metal': 1}",
}


@pytest.mark.parametrize("what", WORDS)
def test_what_an_agent_says_is_shown_as_harmless_text(what: str, tmp_path: Path) -> None:
    result = against(tmp_path, WORDS[what].replace("\x1b", "\\x1b").replace("\x07", "\\x07"), at=0 if "spawn" not in what else 2)
    text = printed(result) + json.dumps(result.as_dict())
    text.encode()
    assert "\x1b" not in text and result.left.error and len(result.left.error) <= 410
    assert "[/foo]" in result.reason or "markup" not in what


def test_names_are_shown_as_harmless_text(tmp_path: Path) -> None:
    text = printed(against(tmp_path, "sys.exit(1)"), ("[/left]", "ri\x1bght"))
    assert "\x1b" not in text and "[/left]" in text and "ri ght" in text


def test_a_table_says_what_it_counts_and_calls_no_loss_an_error(tmp_path: Path) -> None:
    result = against(tmp_path, "pass")
    text = " ".join(printed(result).split())
    assert result.left.error == "lost all factories" and "error" not in text and "lost because it" in text
    assert f"a draw; {result.turns} turns were played" in text and "after the opening" in text and "--logs" not in text


def printed(result: MatchResult, names: tuple[str, str] | None = None) -> str:
    """What the command line shows of a match."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        print_match(result, names or ("left", "right"))
    return shown.getvalue()


def test_printable_text_is_left_alone() -> None:
    assert printable("é [x] 字\t\x1b\ud800!") == "é [x] 字   !" and printable("abcd", 3) == "abc..."


DEEP = "\n        for _ in range(3000):\n            os.mkdir('d'); os.chdir('d')"


def test_nested_folders_lose_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that fills its own unpacked folder, and the one for its thoughts."""
    path = bot(tmp_path / "a", DEEP + f"\n        os.chdir(os.environ['LUXS2_THOUGHTS']){DEEP}")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(path, "main.py")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    result = play_match(
        tmp_path / "a.tar.gz", bot(tmp_path / "b"), seed=1, map_size=12, record_thoughts=True, replay=tmp_path / "r.json", time_per_turn=9
    )
    assert result.reason == "left lost all factories and right lost all factories."
    assert os.listdir(tempfile.gettempdir()) == []


@pytest.mark.parametrize("name", ["KAGGLE_KEY", "AWS_SECRET_ACCESS_KEY"])
def test_agents_are_told_no_secrets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "secret")
    result = against(tmp_path, f"sys.exit('%s %s' % (os.environ.get('{name}'), 'PATH' in os.environ))")
    assert result.left.error == "crashed (exit code 1): None True"


WRITES = """
        if os.fork() == 0:
            with open(os.path.join(os.environ['LUXS2_THOUGHTS'], 'player_0.jsonl'), 'w') as file:
                while True:
                    file.write(json.dumps({'step': 1, 'rows': []}) + chr(10))
        time.sleep(0.1)"""
THOUGHTS = "path = os.path.join(os.environ['LUXS2_THOUGHTS'], 'player_0.jsonl'); "
# what it does, and how its match ends
ODDITIES = {
    "stops itself": ("os.kill(os.getpid(), signal.SIGSTOP)", "timed out"),
    "breaks its memory": ("__import__('ctypes').string_at(0)", "was killed by signal 11 (SIGSEGV)"),
    "aborts": ("os.abort()", "was killed by signal 6 (SIGABRT)"),
    "becomes another program": ("os.execvp('sleep', ['sleep', '600'])", "timed out"),
    "leaves a thread behind": ("__import__('threading').Thread(target=time.sleep, args=(600,)).start(); sys.exit(3)", "timed out"),
    "opens all files there are": ("[os.dup(1) for _ in range(10**7)]", "crashed (exit code 1): OSError"),
    "removes its folder": ("__import__('shutil').rmtree(os.getcwd()); sys.exit(3)", "crashed (exit code 3)"),
    "descends for ever": ("f = lambda: f(); f()", "crashed (exit code 1): RecursionError"),
    "bids no number": ("answer = {'spawn': [float('nan')] * 2, 'water': 1, 'metal': 1}", "sent an invalid action"),
    "spawns at infinity": ("answer = {'spawn': [float('inf')] * 2, 'water': 1, 'metal': 1}", "sent an invalid action"),
    "spawns far away": ("answer = {'spawn': [10**300, 0], 'water': 1, 'metal': 1}", "sent an invalid action"),
    "answers a hundred thousand keys": ("answer = dict.fromkeys(map(str, range(50000)), 1)", "lost all factories"),
    "thinks for ever": (WRITES, "lost all factories"),
    "thinks into a pipe": (THOUGHTS + "os.mkfifo(path)", "lost all factories"),
    "thinks into all zeros": (THOUGHTS + "os.symlink('/dev/zero', path)", "lost all factories"),
    "thinks into a folder": (THOUGHTS + "os.mkdir(path)", "lost all factories"),
    "removes the folder of its thoughts": ("os.rmdir(os.environ['LUXS2_THOUGHTS'])", "lost all factories"),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_whatever_it_does_is_a_verdict_and_a_replay(oddity: str, tmp_path: Path) -> None:
    fault, verdict = ODDITIES[oddity]
    path = tmp_path / "r.json"
    result = against(tmp_path, fault, at=1, time_per_turn=1.0, overage=0.0, record_thoughts=True, replay=path)
    assert result.left.error and result.left.error.startswith(verdict), result.left.error
    assert result.right.error in (None, "lost all factories") and len(result.reason) < 900
    assert living(tmp_path / "a") == [] and read_recording(path).reason == result.reason


@LINUX
@pytest.mark.slow
def test_hundreds_of_matches_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 matches against all oddities in turn: as many processes, open files and folders as before, and no more memory."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    faults = [fault for fault, verdict in ODDITIES.values() if verdict != "timed out"]

    def left() -> tuple[int, int, int]:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return len(children), len(os.listdir("/proc/self/fd")), len(os.listdir(tempfile.gettempdir()))

    def memory() -> int:
        """KiB."""
        return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1])

    marks = []
    for number in range(300):
        folder = tmp_path / str(number)
        against(folder, faults[number % len(faults)], at=1, record_thoughts=True, replay=tmp_path / "r.json")
        assert living(folder / "a") == living(folder / "b") == []
        if number % 50 == 49:
            marks.append((*left(), memory()))
    print(*marks, sep="\n")
    assert {mark[:3] for mark in marks} == {marks[0][:3]}
    assert marks[-1][3] - marks[0][3] < 16 << 10, marks


def sandbox_refusal() -> str | None:
    """Why no sandbox can be made here."""
    try:
        arena.sandbox.check()
    except ValueError as error:
        return str(error)
    return None


SANDBOXED = pytest.mark.skipif(sandbox_refusal() is not None, reason=str(sandbox_refusal()))
REACHES = {
    "a file of the user's": ("open('{secret}').read()", FileNotFoundError),
    "the network": ("__import__('socket').create_connection(('127.0.0.1', {port}))", ConnectionRefusedError),
    "its own folder": ("open('left', 'w')", OSError),
    "a file of the user's, to write": ("open('{secret}', 'r+')", FileNotFoundError),
    "other processes": ("os.kill({pid}, 0)", ProcessLookupError),
}


@SANDBOXED
@pytest.mark.parametrize("what", REACHES)
def test_a_sandboxed_agent_reaches_nothing_of_the_user(what: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    reach, refused = REACHES[what]
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach = reach.format(secret=tmp_path / "secret", port=server.getsockname()[1], pid=os.getpid())
        fault = f"""
        try:
            {reach}
        except {refused.__name__} as error:
            sys.exit('refused')
        sys.exit('reached')"""
        free = against(tmp_path / "free", fault)
        caught = against(tmp_path / "caught", fault, sandbox=True)
    assert caught.left.error == "crashed (exit code 1): refused"
    assert free.left.error == "crashed (exit code 1): reached" or what == "other processes"


@SANDBOXED
def test_an_honest_agent_plays_in_a_sandbox(tmp_path: Path) -> None:
    """A packed checkpoint, which brings torch, and tells what it thinks."""
    package("shipped", tmp_path / "a.tar.gz")
    path = tmp_path / "r.json"
    result = play_match(tmp_path / "a.tar.gz", "idle", seed=1, map_size=16, sandbox=True, replay=path, record_thoughts=True)
    assert (result.winner, result.reason) == ("left", "right lost all factories.")
    assert json.loads(path.read_text())["thoughts"]["player_0"]


@SANDBOXED
def test_a_rating_plays_in_a_sandbox(tmp_path: Path) -> None:
    path = bot(tmp_path / "a", f"sys.exit('reached' if os.path.exists({str(tmp_path / 'r')!r}) else 'refused')")
    rate(["idle", str(path), "--games", "2", "--jobs", "1", "--map-size", "12", "--sandbox", "--results", str(tmp_path / "r" / "r.jsonl")])
    games = [json.loads(line) for line in (tmp_path / "r" / "r.jsonl").read_text().splitlines()]
    assert len(games) == 2 and all("refused" in game["reason"] for game in games)


def test_a_sandbox_that_cannot_be_made_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arena.sandbox.check.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="--sandbox needs bubblewrap .* not installed"):
        against(tmp_path, "pass", sandbox=True)


@SANDBOXED
def test_a_sandbox_that_is_not_permitted_is_a_sentence(tmp_path: Path) -> None:
    """In a place without user namespaces, which is made by bubblewrap as well."""
    code = "import arena.sandbox; arena.sandbox.check()"
    place = ["bwrap", "--unshare-user", "--disable-userns", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    run = subprocess.run([*place, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ValueError: --sandbox cannot be used here: bubblewrap crashed (exit code 1): bwrap: " in run.stderr


def test_an_error_of_syntax_says_where(tmp_path: Path) -> None:
    path = bot(tmp_path / "a")
    path.write_text("import sys\nx = = 1\n")
    result = play_match(path, bot(tmp_path / "b"), seed=1, map_size=12)
    assert result.left.error == "crashed (exit code 1): SyntaxError: invalid syntax (bot.py, line 2)"


ROW = ["unit_1", 0.5, [1, 2, 3, 4], [0.5, 0.5, 1, 1], [[0, 0.5], [1, 0.5]]]
ODD_ROWS = {
    "NaN": [*ROW[:1], float("nan"), *ROW[2:]],
    "infinity": [*ROW[:3], [1, 1, 1, float("inf")], ROW[4]],
    "a number too long": [*ROW[:1], 10**400, *ROW[2:]],
    "a name of no entity": ["city_1", *ROW[1:]],
    "a list for a name": [[], *ROW[1:]],
    "too short": ROW[:3],
    "too few of an action": [*ROW[:2], [1, 2], *ROW[3:]],
    "words": [*ROW[:2], ["a", "b", "c", "d"], *ROW[3:]],
    "a number for kinds": [*ROW[:4], [3]],
    "an object": {"unit_1": 3},
    "null": None,
}


@pytest.mark.parametrize("odd", ODD_ROWS)
def test_odd_thoughts_reach_no_replay(odd: str, tmp_path: Path) -> None:
    lines = [{"step": 1, "rows": [ROW]}, {"step": 2, "rows": [ODD_ROWS[odd]]}, {"step": 3, "rows": [ROW]}]
    (tmp_path / "player_0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_thoughts(str(tmp_path), "player_0") == lines[:1]


def test_an_agent_cannot_speak_for_the_other_side(tmp_path: Path) -> None:
    """It writes a file of the other side's beside its own, and of the other side's factory in its own."""
    fault = """
        for player in ('player_0', 'player_1'):
            with open(os.path.join(os.environ['LUXS2_THOUGHTS'], player + '.jsonl'), 'w') as file:
                for t in range(200):
                    rows = [['factory_%d' % i, 9.0, [0] * 4, [1.0] * 4, [[0, 1.0]]] for i in range(4)]
                    file.write(json.dumps({'step': t, 'rows': rows}) + chr(10))"""
    path = tmp_path / "r.json"
    play_match(bot(tmp_path / "a", fault), "idle", seed=1, map_size=16, record_thoughts=True, replay=path)
    assert list(filter(None, json.loads(path.read_text())["thoughts"].values())) == [json.loads(path.read_text())["thoughts"]["player_0"]]
    recording = read_recording(path)
    assert recording.observations[-1]["factories"]["player_1"] and not any(recording.thoughts.values())
    write_page(path, tmp_path / "page.html")
