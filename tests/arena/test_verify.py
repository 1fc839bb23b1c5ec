"""A package meets errors without losing the match, and one that would fail on the judge's machine is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from arena.match import PLAYERS, Match, Referee, env_settings
from arena.players import extract, open_player
from arena.process import Failure, exchange
from arena.verify import Game, Limits, link_libraries, verified_package, verify
from main import main
from submission.package import package, tar_gz_bytes
from submission.python37 import problems
from tests.submission.test_package import write_checkpoint

SHORT = (Game("idle", "left", 16),)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def files(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | bytes]:
    """The files of a package that is fine."""
    folder = tmp_path_factory.mktemp("package")
    package(checkpoint, folder / "x.tar.gz")
    (folder / "x").mkdir()
    extract(folder / "x.tar.gz", folder / "x")
    return {path.relative_to(folder / "x").as_posix(): path.read_bytes() for path in (folder / "x").rglob("*") if path.is_file()}


def packed(path: Path, files: dict[str, Any]) -> Path:
    path.write_bytes(tar_gz_bytes({name: text.encode() if isinstance(text, str) else text for name, text in files.items()}))
    return path


# errors in play


def broken_unit(message: dict[str, Any]) -> None:
    del next(iter(message["obs"]["units"][message["player"]].values()))["cargo"]


CORRUPTIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a robot without cargo": broken_unit,
    "a cell off the map": lambda message: message["obs"]["board"]["rubble"].update({"99,99": 5}),
    "a cell of words": lambda message: message["obs"]["board"]["lichen"].update({"here": 5}),
    "no factories": lambda message: message["obs"].pop("factories"),
    "power of words": lambda message: next(iter(message["obs"]["factories"][message["player"]].values())).update(power="much"),
    "an observation that is no JSON": lambda message: message.update(obs="{"),
    "no observation": lambda message: message.pop("obs"),
    "another player": lambda message: message.update(player="player_7"),
    "no player": lambda message: message.pop("player"),
    "no number of the turn": lambda message: message["obs"].pop("real_env_steps"),
}


def test_corrupted_observations_cost_their_turn_and_nothing_more(files: dict[str, bytes], tmp_path: Path) -> None:
    """The packaged agent as a process: every other turn its message is spoilt, or is no JSON at all; it answers with nothing,
    says so, and in the turns between it plays on."""
    with open_player(packed(tmp_path / "x.tar.gz", files)) as player:
        match = Match(Referee(1, env_settings(48)), ["package", "idle"])
        with ExitStack() as stack, open_player("idle") as idle:
            match.start(stack, [player, idle], tmp_path, 30.0, 60.0)
            spoilt: list[Any] = [*CORRUPTIONS.values(), None]
            played = 0
            while spoilt or match.referee.turns < 40:
                messages = [match.message(name) for name in PLAYERS]
                faulty = match.referee.turns >= 10 and match.referee.turns % 2 == 0 and bool(spoilt)
                if faulty:
                    messages[0] = spoil(messages[0], spoilt.pop(0))
                answers = exchange([match.bots[name] for name in PLAYERS], messages)
                assert not any(isinstance(answer, Failure) for answer in answers), answers
                actions = [json.loads(bytes(answer)) for answer in answers if not isinstance(answer, Failure)]
                assert not faulty or actions[0] == {}
                played += not faulty and match.referee.turns >= 10 and actions[0] != {}
                assert match.referee.play(dict(zip(PLAYERS, actions))) == {}
    log = (tmp_path / "left.log").read_text()
    assert log.count("Internal error ") == log.count("Traceback") == len(CORRUPTIONS) + 1, log
    assert f"Internal error {len(CORRUPTIONS) + 1}," in log and played > 10


def spoil(message: bytes, corruption: Callable[[dict[str, Any]], Any] | None) -> bytes:
    """The message spoilt; without a corruption half of it, which is no JSON."""
    if corruption is None:
        return message[: len(message) // 2].replace(b"\n", b"") + b"\n"
    values = json.loads(message)
    corruption(values)
    return json.dumps(values).encode() + b"\n"


def test_a_closed_stderr_is_no_error(files: dict[str, bytes], tmp_path: Path) -> None:
    """What is told to stderr may be heard by nobody."""
    main_py = files["main.py"].decode().replace("players = {}", "players = {}\nimport os, sys\nsys.stderr.close()")
    with open_player(packed(tmp_path / "x.tar.gz", {**files, "main.py": main_py})) as player:
        match = Match(Referee(1, env_settings(48)), ["package", "idle"])
        with ExitStack() as stack, open_player("idle") as idle:
            match.start(stack, [player, idle], tmp_path, 30.0, 60.0)
            messages = [match.message(name) for name in PLAYERS]
            answers = exchange([match.bots[name] for name in PLAYERS], [b"no JSON\n", messages[1]])
    assert answers[0] == b"{}", answers


# verification


def test_a_package_that_is_fine_is_verified_and_written(checkpoint: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    made, report = verified_package(checkpoint, tmp_path / "x.tar.gz", games=SHORT, progress=lambda title, turn: seen.append((title, turn)))
    assert made.path == str(tmp_path / "x.tar.gz") and made.size_bytes == (tmp_path / "x.tar.gz").stat().st_size
    assert [game.split(":")[0] for game in report.games] == ["left against idle on 16x16"] == sorted({title for title, _ in seen})
    assert max(turn for _, turn in seen) > 100
    assert 0 < report.import_s < 30 and 0 < report.first_turn_s < 5
    assert 0 < report.turn_ms_median <= report.turn_ms_p99 <= report.turn_ms_max and 60 < report.memory_mib < 2000
    assert 0 < report.overage_left_s <= 60 and json.loads(json.dumps(report.as_dict()))["games"] == report.games


# an agent without a network, to be quick: bids, places nothing, and has lost when the opening is over
PLAIN = """
{start}
import json, os, time
def agent_fn(observation, configuration):
    {act}
    json.loads(observation.obs)
    return {{"faction": "AlphaStrike", "bid": 0}} if observation["step"] == 0 else {{}}
{end}
"""


def plain(start: str = "", act: str = "pass", end: str = "") -> dict[str, str]:
    """A package that does something odd when it is loaded (first or last) or in every turn."""
    return {"main.py": PLAIN.format(start=start, act=act, end=end)}


SMALL = Limits(turn_s=0.05, overage_s=20.0, memory_mib=100.0)
REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "another library": (plain("import gymnasium"), "crashed .exit code 1.: ModuleNotFoundError: No module named 'gymnasium'"),
    "our own modules": (plain("import engine.config"), "No module named 'engine'"),
    "__file__": (plain("print(__file__)"), "NameError: name '__file__' is not defined"),
    "a file of its folder by the current one": (plain("open('main.py')"), "FileNotFoundError"),
    "a late import": ({**plain(act="import late"), "late.py": ""}, "No module named 'late'"),
    "writing into its folder": (plain(act="open(configuration['__raw_path__'] + '.log', 'w')"), "The judge's folder is read-only"),
    "writing into the current folder": (plain(act="open('log', 'a')"), "The judge's folder is read-only"),
    "a folder of its own": (plain(act="os.mkdir('logs')"), "The judge's folder is read-only"),
    "removing itself": (plain(act="os.remove(configuration['__raw_path__'])"), "The judge's folder is read-only"),
    "the network": (plain(act="import socket; socket.socket()"), "tried to use the network .socket.__new__."),
    "the network, quietly": (
        plain("try:\n    import socket; socket.create_connection(('localhost', 9))\nexcept OSError: pass"),
        "tried to use the network",
    ),
    "another last callable": (plain(end="class Last: pass"), "TypeError"),
    "an exception": (plain(act="1 / 0"), "ZeroDivisionError"),
    "slow turns": (plain(act="time.sleep(0.1)"), "1 % of the turns take over 0.1 s"),
    "a slow start": (plain("import time; time.sleep(30)"), "timed out after"),
    "an endless turn": (plain(act="time.sleep(1000)"), "timed out after"),
    "much memory": (plain("hog = b'x' * (150 << 20); import time; time.sleep(0.5)"), "MiB of memory .100 MiB are allowed"),
    "no main.py": ({"agent/main.py": ""}, "has no main.py at its top"),
    "an invalid action": (plain(act="return {'faction': 'Nobody', 'bid': 0}"), "sent an invalid action"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_package_that_would_fail_is_refused_with_the_reason(what: str, tmp_path: Path) -> None:
    files, reason = REFUSED[what]
    limits = SMALL if "slow" in what or what == "much memory" else Limits()
    if what in ("a slow start", "an endless turn"):
        limits, reason = Limits(turn_s=0.5, overage_s=1.0), "timed out after 1.[5-9]"
    with pytest.raises(ValueError, match=reason):
        verify(packed(tmp_path / "x.tar.gz", files), limits, SHORT)


def test_a_plain_package_is_fine(tmp_path: Path) -> None:
    """The refusals above come of what was put in."""
    games = (*SHORT, Game("idle", "right", 12))
    report = verify(packed(tmp_path / "x.tar.gz", plain()), Limits(memory_mib=100.0), games)
    assert report.games == [
        "left against idle on 16x16: 1 turns, 0 lichen, lost all factories",
        "right against idle on 12x12: 1 turns, 0 lichen, lost all factories",
    ]


def test_an_internal_error_refuses_a_package_although_it_plays_on(files: dict[str, Any], tmp_path: Path) -> None:
    entry = next(name for name in files if name.endswith("/submission/answers.py"))
    text = files[entry].decode()
    line = "            self.judge.update(obs)\n"
    changed = text.replace(line, f"{line}            assert self.judge.game.env_steps != 7, 'seven'\n")
    assert changed != text
    with pytest.raises(ValueError, match="met internal errors, each of which costs a turn .1 of them.: AssertionError: seven"):
        verify(packed(tmp_path / "x.tar.gz", {**files, entry: changed}), games=SHORT)


def test_what_fails_is_not_written(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bytes; the judge accepts at most 1000"):
        verified_package(checkpoint, tmp_path / "x.tar.gz", limits=Limits(size_bytes=1000))
    assert not (tmp_path / "x.tar.gz").exists()


def test_writing_where_it_is_allowed_is_fine(tmp_path: Path) -> None:
    tried = "try:\n    open('x', 'w')\nexcept OSError: pass\nimport tempfile; tempfile.TemporaryFile().write(b'x')"
    assert verify(packed(tmp_path / "x.tar.gz", plain(tried)), games=SHORT).memory_mib > 0


def test_nothing_but_the_libraries_is_visible(tmp_path: Path) -> None:
    link_libraries(tmp_path / "libraries", ["numpy"])
    names = {path.name.split(".")[0].split("-")[0] for path in (tmp_path / "libraries").iterdir()}
    assert "numpy" in names and not names & {"torch", "numba", "gymnasium", "luxai_s2", "pytest"}
    with pytest.raises(ValueError, match="no_such_library is not installed"):
        link_libraries(tmp_path / "other", ["no_such_library"])


@pytest.mark.slow
def test_the_verb_verifies_a_whole_game_on_each_side(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [tmp_path / name for name in ("a.tar.gz", "b.tar.gz")]
    assert main(["package", str(checkpoint), "-o", str(outputs[0]), "--json", str(tmp_path / "r.json")]) == 0
    shown = capsys.readouterr().out
    assert "left against miner on 48x48" in shown and "right against farmer on 64x64" in shown and "peak memory" in shown
    assert json.loads((tmp_path / "r.json").read_text())["verified"]["turn_ms_p99"] > 0
    assert main(["package", str(checkpoint), "-o", str(outputs[1]), "--no-verify"]) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


# what the oldest image does not have


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import torch\ntorch.compile(f)", "torch.compile"),
        ("import torch\ntorch.nn.RMSNorm(3)", "torch.nn.RMSNorm"),
        ("import torch.nn as nn\nnn.RMSNorm(3)", "torch.nn.RMSNorm"),
        ("from torch import nn\nnn.RMSNorm(3)", "torch.nn.RMSNorm"),
        ("from torch.nn import RMSNorm", "torch.nn.RMSNorm"),
        ("import torch.nn.functional as F\nF.scaled_dot_product_attention(q, k, v)", "torch.nn.functional.scaled_dot_product_attention"),
        ("import torch\ntorch.load(f, weights_only=True)", "load(weights_only=)"),
        ("x.scatter_reduce_(0, i, y, 'sum')", ".scatter_reduce_"),
        ("from torch.func import vmap", "torch.func"),
        ("import numpy as np\nnp.concat([x])", "numpy.concat"),
        ("import functools as ft\nft.cache(f)", "functools.cache"),
    ],
)
def test_calls_that_the_oldest_image_lacks_are_found(source: str, words: str) -> None:
    assert any(words in problem for problem in problems(source, "x.py")), list(problems(source, "x.py"))


def test_calls_that_it_has_are_fine() -> None:
    source = (
        "import torch.nn as nn, numpy as np, torch\nnn.LayerNorm(3); nn.GELU(); np.concatenate([x]); torch.cat([x]); x.index_add(0, i, y)"
    )
    assert list(problems(source, "x.py")) == []
