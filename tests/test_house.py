"""The order of the rooms: imports point one way, and there is no circle (the contracts are in pyproject.toml)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine import jit

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("engine", "wrappers", "agent", "submission", "arena", "training", "reproduce", "benchmarks", "luxs2", "commands")
CHECK = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """The contracts of pyproject.toml on the sources under `folder`."""
    return subprocess.run([sys.executable, "-c", CHECK], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources, to be spoilt."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            to = tmp_path / path.relative_to(ROOT)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_point_one_way_and_there_is_no_circle():
    result = check(ROOT)
    assert result.returncode == 0, result.stdout


def test_every_room_is_in_the_contracts():
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found == set(ROOMS)
    text = (ROOT / "pyproject.toml").read_text()
    assert all(text.count(f'"{room}"') >= 3 for room in ROOMS)


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("arena/fast.py", "from training.config import TrainConfig", "Imports point one way BROKEN"),
        ("engine/ground.py", "import wrappers.action", "Imports point one way BROKEN"),
        ("agent/batch.py", "from agent.policy import Policy", "No circle of imports BROKEN"),
    ],
)
def test_a_forbidden_import_is_found(copy, file, line, contract):
    with open(copy / file, "a") as source:
        source.write(f"\n\ndef later():\n    {line}\n")
    result = check(copy)
    assert result.returncode == 1 and contract in result.stdout


def test_machine_code_follows_every_room_that_is_compiled():
    """The cache's folder is named by what compiled functions may call: a room of theirs that it does not know leaves old code behind."""
    compiled = [room for room in ROOMS if any("\n@jit\n" in path.read_text() for path in (ROOT / room).rglob("*.py"))]
    assert len(compiled) > 1 and set(compiled[:-1]) <= set(jit.ROOMS)  # nobody calls the last one
