"""The packager: rewritten imports, Python 3.7, same bytes, and a package that plays the way the judge loads it."""

from __future__ import annotations

import ast
import gzip
import io
import json
import re
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arena.players
from agent.policy import BACKBONES
from agent.stored import header_text, read_stored, resolve
from agent.tasks.candidates import HEAVY, WATERING
from agent.tasks.heads import save_heads
from arena.match import PLAYERS, Referee, env_settings, play_match
from arena.players import extract, open_player
from submission import entry
from submission import package as packager
from submission.package import collect_modules, npz_bytes, package, relative_imports, tar_gz_bytes
from submission.python37 import problems
from training.tasks.net import TaskNet


@pytest.mark.parametrize(
    ("path", "line", "expected"),
    [
        ("agent/policy.py", "from agent.batch import Batch", "from ..agent.batch import Batch"),
        ("agent/backbones/dense.py", "from agent.backbones import Entities", "from ...agent.backbones import Entities"),
        ("agent/x.py", "import engine.state as state", "from ..engine import state as state"),
        ("agent/x.py", "import engine as e", "from .. import engine as e"),
        ("engine/x.py", "def f():\n    from wrappers import masks", "def f():\n    from ..wrappers import masks"),
        ("engine/x.py", "x = 'é'; from engine.jit import jit", "x = 'é'; from ..engine.jit import jit"),
        ("engine/x.py", "from engine.config import (\n    CELLS,\n)", "from ..engine.config import (\n    CELLS,\n)"),
        ("engine/x.py", "from engineering import x", "from engineering import x"),
        ("engine/x.py", '"""from engine.config import CELLS"""', '"""from engine.config import CELLS"""'),
        ("engine/x.py", "import numpy as np", "import numpy as np"),
    ],
)
def test_imports_become_relative(path: str, line: str, expected: str) -> None:
    assert relative_imports(line, path) == expected
    ast.parse(expected)


@pytest.mark.parametrize("line", ["import engine.state", "import engine", "import engine.a as a, engine.b as b"])
def test_imports_that_cannot_be_rewritten_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="the packager needs"):
        relative_imports(line, "agent/x.py")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("if (n := 3): pass", "syntax"),
        ("def f(a, /): pass", "syntax"),
        ("match x:\n    case 1: pass", "syntax"),
        ("from typing import Protocol", "typing.Protocol"),
        ("import functools\n@functools.cache\ndef f(): pass", "functools.cache"),
        ("for a in zip(x, y, strict=True): pass", "zip(strict=)"),
        ("'a'.removeprefix('b')", ".removeprefix"),
        ("def f(a: int | None): pass", "int | None"),
        ("x: dict[str, int] = {}", "dict[str, int]"),
    ],
)
def test_later_python_is_found(source: str, words: str) -> None:
    assert any(words in problem for problem in problems(source, "x.py"))


def test_annotations_that_never_run_are_fine() -> None:
    assert list(problems("from __future__ import annotations\ndef f(a: int | None) -> dict[str, int]: ...\n", "x.py")) == []


def test_what_is_collected_is_ours_without_training_and_luxai() -> None:
    modules = collect_modules()
    assert {"submission/entry.py", "agent/policy.py", "wrappers/judge.py", "engine/jit.py", "agent/backbones/__init__.py"} <= set(modules)
    assert "numba" not in modules["engine/jit.py"]
    for path, text in modules.items():
        for node in ast.parse(text).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top in (*packager.OURS, "numpy", "torch") or top in sys.stdlib_module_names, f"{path} imports {name}"


def test_the_docs_list_what_is_packaged() -> None:
    page = (packager.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## What runs on the judge's machine")[2].partition("\n## ")[0]
    lists = re.findall(r"`(engine|wrappers|submission)/\{([a-z_,]+)\}\.py`", section)
    packed = {path for path in collect_modules() if not path.endswith("__init__.py")}
    assert {f"{room}/{name}.py" for room, names in lists for name in names.split(",")} == {p for p in packed if not p.startswith("agent/")}
    words = set(re.findall(r"`([a-z_]+)(?:\.py|/)?`", section))
    left_out = {path.relative_to(packager.ROOT).as_posix() for path in (packager.ROOT / "agent").rglob("*.py")} - {*collect_modules()}
    assert left_out and all(words & {*Path(path).with_suffix("").parts} for path in left_out)


def test_archives_are_the_same_bytes_every_time() -> None:
    files = {"b.py": b"2", "a/c.py": b"1"}
    assert tar_gz_bytes(files) == tar_gz_bytes(dict(reversed(files.items())))
    arrays = {"z": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.float32(3)}
    data = npz_bytes(arrays)
    assert data == npz_bytes(dict(reversed(arrays.items())))
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    assert sorted(loaded.files) == ["a", "z"]
    for name, array in arrays.items():
        assert np.array_equal(loaded[name], array) and loaded[name].shape == np.shape(array) and loaded[name].dtype == np.float32


# checkpoints with random weights


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an untrained policy, as training writes them."""
    return write_checkpoint(tmp_path_factory.mktemp("run"))


def write_checkpoint(folder: Path, **options: Any) -> Path:
    """A checkpoint of an untrained policy in a run folder; `options` as for `PolicyConfig`."""
    import torch

    from agent.policy import Policy, PolicyConfig, policy_sizes
    from training.run import checkpoint as checkpoints
    from wrappers.action import ActionConfig

    torch.manual_seed(0)
    actions = ActionConfig()
    network = PolicyConfig(width=32, channels=4, **options)
    policy = Policy(network, policy_sizes(actions, network))
    config = {"train": {}, "policy": policy.full_config(), "actions": packager_plain(actions)}
    return checkpoints.save_to_run(folder, 7, config, policy.state_dict(), best=True)


def packager_plain(config: object) -> dict:
    """A config dataclass as JSON values."""
    import dataclasses

    assert dataclasses.is_dataclass(config) and not isinstance(config, type)
    return json.loads(json.dumps(dataclasses.asdict(config)))


@pytest.fixture(scope="module")
def tarball(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "submission.tar.gz"
    package(checkpoint, path)
    return path


def test_same_checkpoint_same_bytes(checkpoint: Path, tarball: Path, tmp_path: Path) -> None:
    report = package(checkpoint.parent, tmp_path / "again.tar.gz")  # the run folder means its best checkpoint
    assert (tmp_path / "again.tar.gz").read_bytes() == tarball.read_bytes()
    assert report.size_bytes == tarball.stat().st_size < 2_000_000
    assert report.parameters == sum(tensor.numel() for tensor in read_stored(checkpoint).policy_state.values())
    assert package(checkpoint, tmp_path / "greedy.tar.gz", greedy=True).package != report.package
    with tarfile.open(tarball) as tar:
        names = tar.getnames()
        assert "main.py" in names and names == sorted(names)
        assert {name.split("/")[0] for name in names} == {"main.py", report.package}
        assert all(member.mtime == 0 and member.isfile() for member in tar)


# what the judge does with main.py, in a process that knows nothing of this repository and has no numba
JUDGE = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "luxai_s2", "safetensors", "gymnasium", "engine", "wrappers", "agent", "submission", "training"):
            raise ImportError(name + " does not exist on the judge's machine")
sys.meta_path.insert(0, Blocked())
folder = sys.argv[1]
agents = []
for side in range(2):
    namespace = {}
    sys.path.append(folder)
    exec(compile(open(folder + "/main.py").read(), folder + "/main.py", "exec"), namespace)
    sys.path.remove(folder)
    agents.append([value for value in namespace.values() if callable(value)][-1])
    assert agents[-1].__name__ == "agent_fn" and "__file__" not in namespace, namespace.keys()
class Struct(dict):
    __getattr__ = dict.__getitem__
configuration = Struct(__raw_path__=folder + "/main.py")
for line in sys.stdin:
    message = json.loads(line)
    configuration["env_cfg"] = message["env_cfg"]
    answers = []
    for side, agent in enumerate(agents):
        observation = Struct(obs=message["obs"], step=message["step"], player="player_%d" % side, remainingOverageTime=60.0)
        answers.append(agent(observation, configuration))
    print(json.dumps(answers), flush=True)
"""


def test_the_judge_can_execute_the_package(tarball: Path, tmp_path: Path) -> None:
    """Text of main.py executed, two copies in one process, the folder gone from the path: a game without an error."""
    folder = tmp_path / "agent"
    folder.mkdir()
    extract(tarball, folder)
    referee = Referee(1, env_settings(48))
    command = [sys.executable, "-I", "-c", JUDGE, str(folder)]
    with subprocess.Popen(command, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as judge:
        assert judge.stdin and judge.stdout and judge.stderr
        while referee.turns < 40 and not referee.done:
            message = {"obs": referee.observation, "step": referee.step, "env_cfg": referee.env_cfg}
            judge.stdin.write(json.dumps(message) + "\n")
            judge.stdin.flush()
            line = judge.stdout.readline()
            assert line, judge.stderr.read()
            assert referee.play(dict(zip(PLAYERS, json.loads(line)))) == {}
        judge.stdin.close()
        assert judge.stderr.read() == ""
    assert referee.turns == 40 and all(referee.side(player)[2] > 0 for player in PLAYERS)


def test_the_package_plays_from_the_tarball(tarball: Path, tmp_path: Path) -> None:
    result = play_match(tarball, "idle", seed=1, log_dir=tmp_path, overage=120)
    assert "Traceback" not in (tmp_path / "left.log").read_text()
    assert result.left.error in (None, "lost all factories") and result.turns >= 100, result.reason


NETWORKS = {
    **{name: {"backbone": name} for name in BACKBONES},
    "sparse": {"sparsity": 0.9},
    "sparse bun": {"backbone": "bun", "sparsity": 0.9},
    "advised": {"adviser": "farmer"},
}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_packaged_whole_and_without_what_only_training_needs(network: str, tmp_path: Path) -> None:
    import torch

    from agent.compact import training_only

    report = package(write_checkpoint(tmp_path / "run", **NETWORKS[network]), tmp_path / "x.tar.gz")
    (tmp_path / "agent").mkdir()
    extract(tmp_path / "x.tar.gz", tmp_path / "agent")
    policy, _, _ = entry.load(str(next((tmp_path / "agent").glob("luxs2_*"))))
    state = read_stored(next((tmp_path / "run").glob("step-*"))).policy_state
    left_out = training_only(policy)
    assert all(torch.equal(tensor, policy.state_dict()[name]) for name, tensor in state.items() if name not in left_out)
    if "sparse" in network:  # nine weights in ten of the layers are absent, and their zeros are not stored
        plain = package(write_checkpoint(tmp_path / "plain", **{**NETWORKS[network], "sparsity": 0.0}), tmp_path / "plain.tar.gz")
        assert report.parameters < 0.6 * plain.parameters and report.size_bytes < plain.size_bytes


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_plays_a_whole_match(network: str, tmp_path: Path) -> None:
    package(write_checkpoint(tmp_path / "run", **NETWORKS[network]), tmp_path / "x.tar.gz")
    result = play_match(tmp_path / "x.tar.gz", "miner", seed=1, log_dir=tmp_path, overage=120)
    assert "Traceback" not in (tmp_path / "left.log").read_text()
    assert result.left.error in (None, "lost all factories") and result.turns >= 100, result.reason


def test_an_error_inside_costs_a_turn_and_not_the_match(tarball: Path, tmp_path: Path) -> None:
    """Weights that make the policy fail: the side answers with nothing, tells stderr, and is not disqualified."""
    folder = tmp_path / "agent"
    folder.mkdir()
    extract(tarball, folder)
    weights = next(folder.glob("luxs2_*/weights.npz"))
    weights.write_bytes(npz_bytes({"value.bias": np.zeros(3, np.float32)}))
    result = play_match(folder, "idle", seed=1, log_dir=tmp_path)
    assert result.left.error == "lost all factories" and result.turns == 151, result.reason
    assert "Traceback" in (tmp_path / "left.log").read_text()


class Moody:
    """A policy that fails every third turn."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.turns, self.sizes, self.config = policy, 0, policy.sizes, policy.config
        self.observation = policy.observation

    def act(self, *arguments: Any) -> np.ndarray:
        self.turns += 1
        if self.turns % 3 == 0:
            raise RuntimeError("a bad turn")
        return self.policy.act(*arguments)


def test_errors_are_counted_and_low_time_leaves_robots_to_their_queues(tarball: Path, tmp_path: Path) -> None:
    extract(tarball, tmp_path)
    policy, actions, greedy = entry.load(str(next(tmp_path.glob("luxs2_*"))))
    moody = Moody(policy)
    referee = Referee(1, env_settings(48))
    policies: tuple[Any, Any] = (moody, policy)
    players = [entry.Player(name, referee.env_cfg, (plays, actions, greedy)) for name, plays in zip(PLAYERS, policies)]
    answers: list[dict] = []
    while referee.turns < 20:
        answers = [player.act(json.loads(referee.observation), 0.5 if referee.turns >= 15 else 60.0) for player in players]
        assert referee.turns < 15 or answers == [{}, {}]
        assert referee.play(dict(zip(PLAYERS, answers))) == {}
    assert moody.turns == 15 and players[0].errors == 5 and players[1].errors == 0


def test_nothing_is_legal_all_through_the_opening() -> None:
    referee = Referee(3, env_settings(48))
    while referee.env.state.real_env_steps < 5:
        obs = json.loads(referee.observation)
        assert referee.play({player: entry.nothing(obs, player) for player in PLAYERS}) == {}
    assert [referee.side(player)[1] for player in PLAYERS] == [referee.env.state.board.factories_per_team] * 2
    assert entry.nothing({}, "player_0") == {}


def test_a_checkpoint_plays_without_being_packaged_by_hand(checkpoint: Path) -> None:
    with open_player(checkpoint.parent) as player:
        folder = player.folder
        assert (folder / "main.py").is_file()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("policy.safetensors", b"cut", "has 3 bytes"),
        ("config.json", b"{", "is not JSON"),
        ("config.json", b"{}", "has format None"),
        ("config.json", b"[]", "has format None"),
    ],
)
def test_damaged_checkpoints_are_refused(checkpoint: Path, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(content if path.name == name else path.read_bytes())
    with pytest.raises(ValueError, match=words):
        package(folder, tmp_path / "x.tar.gz")
    assert not (tmp_path / "x.tar.gz").exists()


def test_a_checkpoint_of_another_version_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    header = json.loads((checkpoint / "config.json").read_text())
    header["config"]["policy"]["width"] = 48
    (tmp_path / "config.json").write_text(header_text(header["step"], header["config"], header["files"]))
    (tmp_path / "policy.safetensors").write_bytes((checkpoint / "policy.safetensors").read_bytes())
    with pytest.raises(ValueError, match="does not fit this version"):
        package(tmp_path, tmp_path / "x.tar.gz")


def test_latest_means_the_run_saved_last(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no run with a checkpoint"):
        resolve("latest", runs=tmp_path / "runs")
    with pytest.raises(ValueError, match="is no folder"):
        resolve(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no checkpoint"):
        resolve(tmp_path)
    assert resolve("latest", runs=checkpoint.parent.parent) == checkpoint
    assert resolve(checkpoint.parent / "latest") == resolve(checkpoint) == checkpoint


# tarballs of other people


def archive(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../evil.py", b"")], "outside"),
        ([("/tmp/evil.py", b"")], "outside"),
        ([("a/../../evil.py", b"")], "outside"),
        ([link("main.py", "/etc/passwd", tarfile.SYMTYPE)], "neither a file nor a folder"),
        ([link("main.py", "x", tarfile.LNKTYPE)], "neither a file nor a folder"),
        ([link("main.py", "", tarfile.FIFOTYPE)], "neither a file nor a folder"),
        ([("agent/main.py", b"")], "no main.py at its top .there is one at agent/main.py"),
        ([("readme", b"")], "no main.py at its top"),
        ([("d/" * 1500 + "main.py", b"")], "has a member in 1501 folders; at most 100"),
        ([("d/" * 90 + "main.py", b"")], "no main.py at its top"),
    ],
)
def test_bad_tarballs_are_refused(members: list, words: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "bad.tar.gz", *members)
    with pytest.raises(ValueError, match=words):
        open_player(path)
    assert not (tmp_path / "evil.py").exists() and not (tmp_path.parent / "evil.py").exists()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("how", ["large", "many"])
def test_tarballs_with_hostile_headers_are_refused_at_once(kind: bytes, how: str, tmp_path: Path) -> None:
    """A header of 64 MiB in 64 KB, which `tarfile` would read whole and copy; and thousands of headers, each of which it descends for."""
    size = 64 << 20 if how == "large" else 10
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, size
    header = info.tobuf(tarfile.GNU_FORMAT) + (bytes(size) if how == "large" else b"9 a=bcde\n\0".ljust(512, b"\0"))
    path = tmp_path / "bad.tar.gz"
    path.write_bytes(gzip.compress(header * (1 if how == "large" else 5000), 1))
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"{path} (has a header of|is not a whole tar.gz)"):
        open_player(path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_a_tarball_unpacks_to_no_more_than_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "x.tar.gz", ("main.py", bytes(1000)), ("more", bytes(1000)))
    for name, least in (("UNPACKED_LIMIT", 2000), ("MEMBER_LIMIT", 2)):
        monkeypatch.setattr(arena.players, name, least)
        open_player(path).close()
        monkeypatch.setattr(arena.players, name, least - 1)
        with pytest.raises(ValueError, match="unpacks to more than"):
            open_player(path)
        monkeypatch.undo()


def test_cut_tarballs_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar.gz", ("main.py", bytes(np.random.default_rng(1).bytes(10_000))))
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[:20], whole[: len(whole) // 2], b"\x1f\x8b" + whole[40:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a whole tar.gz|cannot be unpacked"):
            open_player(path)


@pytest.mark.parametrize(
    ("name", "words"), [("nobody", "does not exist; accepted are"), ("empty", "is no player"), ("notes.txt", "is no player")]
)
def test_what_is_no_player_is_said(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=words):
        open_player(tmp_path / name)


def test_the_farm_is_packaged_with_its_heads(tmp_path: Path) -> None:
    heads = {kind: TaskNet(8).head() for kind in (HEAVY, WATERING)}
    file = tmp_path / "mine.tasks.npz"
    file.write_bytes(save_heads(heads))
    report = package(file, tmp_path / "farm.tar.gz")
    assert report.parameters == sum(weights.size for head in heads.values() for weights in head)
    with tarfile.open(tmp_path / "farm.tar.gz") as tar:
        texts = {member.name.partition("/")[2]: tar.extractfile(member).read() for member in tar if "/" in member.name}  # type: ignore[union-attr]
    assert texts["heads.tasks.npz"] == file.read_bytes()
    assert not any(b"import torch" in content for content in texts.values())
    result = play_match(str(tmp_path / "farm.tar.gz"), "idle", 1, 24)
    assert result.left.error is None and result.winner == "left"


def test_heads_that_are_none_are_told(tmp_path: Path) -> None:
    for name, content in (("a", b""), ("b", b"PK\x03\x04 no archive"), ("c", save_heads({})[:-30])):
        file = tmp_path / f"{name}.tasks.npz"
        file.write_bytes(content)
        with pytest.raises(ValueError, match="holds no heads"):
            package(file, tmp_path / "x.tar.gz")
    head = TaskNet(8).head()
    file.write_bytes(save_heads({HEAVY: head._replace(score=head.score * np.nan)}))
    with pytest.raises(ValueError, match="are no numbers"):
        package(file, tmp_path / "x.tar.gz")
    file.write_bytes(save_heads({HEAVY: head._replace(of_state=head.of_state[1:])}))
    with pytest.raises(ValueError, match="with other observations"):
        package(file, tmp_path / "x.tar.gz")
