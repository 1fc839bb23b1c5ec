"""The tarball under Kaggle's own judge, `kaggle_environments`: whole episodes in one process, and its verdicts on bad agents."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from arena.match import play_match
from arena.players import extract
from submission.package import package
from tests import kaggle_environment
from tests.submission.test_package import write_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="kaggle-environments needs Python 3.11"),
]

# an agent of somebody else, whose modules have the names that ours have in this repository
OTHER = """
from agent.policy import NAME
from engine.state import NUMBER
from submission.entry import answer
import agent.policy, submission.entry

def other(observation, configuration):
    assert (NAME, NUMBER) == ("theirs", 4) and agent.policy.NAME == "theirs" and submission.entry.answer is answer
    return answer(observation)
"""
MODULES = {
    "agent/__init__.py": "",
    "agent/policy.py": "NAME = 'theirs'",
    "engine/__init__.py": "",
    "engine/state.py": "NUMBER = 4",
    "wrappers/__init__.py": "",
    "submission/__init__.py": "",
    "submission/entry.py": """
import json
import time
def answer(observation):
    obs = json.loads(observation.obs)
    if observation.step == 0:
        return {"faction": "AlphaStrike", "bid": 0}
    team = obs["teams"][observation.player]
    if obs["real_env_steps"] < 0:
        if team["factories_to_place"] == 0 or (observation.step % 2 == 1) != team["place_first"]:
            return {}
        mask = obs["board"]["valid_spawns_mask"]
        x, y = next((x, y) for x in range(len(mask)) for y in range(len(mask)) if mask[x][y])
        return {"spawn": [x, y], "metal": 150, "water": 150}
    if obs["real_env_steps"] == 5:
        FAULT
    return {}
""",
}


@pytest.fixture(scope="module")
def judge() -> None:
    try:
        kaggle_environment.python()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, judge: None) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    package(write_checkpoint(folder / "run"), folder / "x.tar.gz")
    (folder / "x").mkdir()
    extract(folder / "x.tar.gz", folder / "x")
    return folder / "x" / "main.py"


def other(folder: Path, fault: str = "pass") -> Path:
    for name, text in {"main.py": OTHER, **MODULES}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("FAULT", fault))
    return folder / "main.py"


def test_both_sides_ours(ours: Path, tmp_path: Path) -> None:
    """To the end, as our own referee sees it: the same turns, nothing on stderr."""
    verdict = kaggle_environment.play([ours, ours], tmp_path)
    assert verdict["statuses"] == ["DONE", "DONE"] and verdict["stderr"] == ["", ""]
    result = play_match(ours.parent, ours.parent, seed=1)
    assert verdict["real_steps"] == result.turns >= 100
    assert all(reward in (-1000, side.lichen) for reward, side in zip(verdict["rewards"], (result.left, result.right)))
    assert max(verdict["slowest"]) < 60


@pytest.mark.parametrize("side", [0, 1])
def test_ours_against_modules_of_the_same_names(side: int, ours: Path, tmp_path: Path) -> None:
    agents = [other(tmp_path / "other")] * 2
    agents[side] = ours
    verdict = kaggle_environment.play(agents, tmp_path)
    assert verdict["statuses"] == ["DONE", "DONE"] and verdict["stderr"] == ["", ""] and verdict["real_steps"] > 100


@pytest.mark.parametrize(("fault", "status", "words"), [("1 / 0", "ERROR", "ZeroDivisionError"), ("time.sleep(64)", "TIMEOUT", "")])
def test_verdicts_on_the_other_side(fault: str, status: str, words: str, ours: Path, tmp_path: Path) -> None:
    """Of an error and of a turn that the overage does not pay for; our side is done, with the reward it has."""
    verdict = kaggle_environment.play([ours, other(tmp_path / "other", fault)], tmp_path)
    assert verdict["statuses"][1] == status and verdict["rewards"][1] is None
    assert verdict["statuses"][0] == "DONE" and verdict["stderr"][0] == ""
    assert words in verdict["stderr"][1] and verdict["real_steps"] <= 6
