"""The package from Python: the snippets of docs/api.md, what they promise, and what an installation holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import webbrowser
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import luxs2
from arena.evaluate import evaluate
from engine.config import GameConfig
from engine.maps import MapPool
from wrappers.action import WAIT
from wrappers.vec_env import VecEnv

ROOT = Path(__file__).parents[2]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.DOTALL)
SMALL = [  # the snippets stand for real use; here they are short
    (r"map_size=48", "map_size=16"),
    (r"range\(100\)", "range(5)"),
    (r"max_turns=\d+", "map_size=16, max_turns=5"),
    (r"env_steps=102_400", "env_steps=102_400, map_size=16, eval_every=0, eval_maps=1"),
    (r"env_steps < 60_000", "env_steps < 1000"),
    (r"env_steps=20_480", "env_steps=512, map_size=16, eval_maps=1"),
    (r"num_games=16", "num_games=8"),
    (r"maps=8", "maps=1"),
]


def test_the_snippets_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    scope: dict[str, Any] = {}
    for snippet in SNIPPETS:
        for pattern, short in SMALL:
            snippet = re.sub(pattern, short, snippet)
        exec(compile(snippet, "docs/api.md", "exec"), scope)
    assert (tmp_path / "runs" / "mine" / "latest").read_text().strip() == "step-000001024"  # where the callback ended it
    assert opened == [(tmp_path / "page.html").as_uri()] and "<html" in (tmp_path / "page.html").read_text()
    assert scope["result"].map_size == 16 and 0 <= scope["scores"]["win_rate"] <= 1
    assert not scope["env"].agents and scope["infos"]


def test_random_actions_are_legal_and_reach_every_kind():
    env = luxs2.make(4, map_size=24, maps=range(4), max_turns=40)
    rng = np.random.default_rng(0)
    env.reset()
    kinds: set[int] = set()
    for _ in range(60):
        action = luxs2.random_actions(env, rng)
        mask = env.obs.mask[: env.obs.rows]
        assert (mask >> action[:, 0] & 1).all()
        kinds |= set(action[:, 0].tolist())
        env.step(action)
        env.reset_done()
    assert len(kinds) >= 7


def test_an_actor_plays_as_the_evaluation_does():
    """The same agent, maps and sampling: the same game, turn by turn, although the environment shows something else."""
    actor = luxs2.load("shipped", seed=5)
    config = GameConfig(map_size=16, min_factories=1, max_factories=2, max_episode_length=60)
    env = VecEnv(config, 2, MapPool(config, [7, 8]), actor.opening, shuffle=False)
    env.reset()
    finished = []
    while not env.over.all():
        finished += env.step(actor.act(env)).finished
    other = evaluate(actor.agent, config, [7, 8], seed=5).games
    assert sorted(finished, key=lambda game: game.game) == other


def test_an_actor_forgets_games_that_are_over():
    """What its adviser remembers after the first turn of a game does not depend on a game before it."""
    minds: list[str] = []
    for turns in (1, 120):
        actor = luxs2.load("shipped", greedy=True)
        env = luxs2.make(1, map_size=16, maps=[3], max_turns=turns, opening=actor.opening)
        env.reset()
        while not env.over[0]:
            env.step(actor.act(env))
        env.reset_done()
        actor.act(env)
        advice = actor._rival.advice
        assert advice is not None
        minds.append(repr(advice.state()))
    assert minds[0] == minds[1]


def test_an_actor_leaves_the_sides_of_others_alone():
    actor = luxs2.load("shipped")
    env = luxs2.make(2, map_size=16, maps=range(2), opening=actor.opening)
    env.reset()
    action = actor.act(env, sides=[0, 3])
    theirs = np.isin(env.obs.side[: env.obs.rows], [1, 2])
    assert (action[theirs] == WAIT).all() and (action[~theirs, 0] != WAIT).any()


def test_the_names_of_gymnasium(tmp_path):
    single = gymnasium.make("luxs2/SingleRobot-v0", map_size=24, maps=range(2), max_turns=30)
    assert single.reset(seed=1)[1]["illegal"] == 0
    team = gymnasium.make("luxs2/Team-v0", opponent="miner", map_size=24, maps=range(2), slots=24, max_turns=60)
    check_env(team.unwrapped, skip_render_check=True)
    _, info = team.reset(seed=1)
    for _ in range(60):
        *_, truncated, info = team.step(np.zeros(24, np.int64))
    assert truncated and info["result"].robots[0] == 0 < info["result"].robots[1]  # we wait, the miner builds


def test_a_wrong_name_is_a_sentence():
    with pytest.raises(AttributeError, match="luxs2 has no 'fly'"):
        _ = luxs2.fly
    with pytest.raises(ValueError, match="There is no preset 'x'"):
        luxs2.train("runs/x", "x")
    code = "import sys, luxs2; assert not {'torch', 'numba'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_the_version_is_the_same_everywhere():
    patterns = {"pyproject.toml": r'^version = "(.*)"', "CITATION.cff": r"^version: (.*)", "CHANGELOG.md": r"^## (\d\S*)"}
    found = {file: re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)[0] for file, pattern in patterns.items()}
    assert len(set(found.values())) == 1, found


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return list(filter(None, listed))


def copied(source: Path) -> Path:
    """The repository's files elsewhere, as a stranger has them."""
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    return source


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_the_rooms(tmp_path):
    """Built from a copy, as pip builds it: code, the shipped agent, the pages' parts and scripted agents; and what it requires."""
    source = copied(tmp_path / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("luxs2-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (metadata,) = (name for name in held if name.endswith("METADATA"))
        told = archive.read(metadata).decode()
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    wanted = {name for name in tracked() if name.split("/")[0] in rooms and not name.startswith("engine/vec_noise/")}
    assert wanted <= held and {f"{room}/py.typed" for room in rooms} <= held
    for line in (ROOT / "requirements.txt").read_text().split("# To develop")[0].splitlines():
        name = re.match(r"[\w-]+", line)
        assert name is None or f"Requires-Dist: {name[0]}" in told
    assert "Requires-Dist: vec_noise @ file://" in told and 'extra == "dev"' in told


@pytest.mark.slow
def test_two_wheels_install_where_the_source_is_not(tmp_path):
    """As `make wheels` builds them, and as pip resolves them with the source gone: by version, and from the folder that they are in."""
    source = copied(tmp_path / "source")
    subprocess.run(["make", "wheels", f"PYTHON={sys.executable}"], cwd=source, check=True, capture_output=True, timeout=300)
    (source / "dist").rename(tmp_path / "dist")
    shutil.rmtree(source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(tmp_path / "dist")]
    there = tmp_path / "there"
    subprocess.run([*pip, "--target", str(there), "--no-deps", "luxs2", "vec_noise"], check=True, capture_output=True, timeout=300)
    told = next(there.glob("luxs2-*.dist-info")).joinpath("METADATA").read_text()
    assert "Requires-Dist: vec_noise==1.1.4+numpy" in told and "file://" not in told
    code = "import luxs2, vec_noise; env = luxs2.make(1, map_size=16, maps=[987]); env.reset(); print(luxs2.__file__, vec_noise.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(there)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0 and result.stdout.count(str(there)) == 2, result.stderr
