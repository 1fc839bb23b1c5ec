"""The tutorials as they stand: files are written and commands run, in their order, in an empty folder and with small budgets."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from main import main
from submission.package import check_python37

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"^```(\S*)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TRAIN = {
    "--map-size": "24",
    "--train-maps": "2",
    "--eval-maps": "1",
    "--max-turns": "20",
    "--ppo.num-games": "4",
    "--ppo.rollout-steps": "8",
    "--ppo.minibatches": "1",
    "--env-steps": "64",
}
SMALL = {  # options of a verb that stand for real use, as they are tried
    "train": TRAIN,
    "evaluate": {"--maps": "1", "--map-size": "24"},
    "imitate": {"--epochs": "1", "--eval-maps": "0"},
    "play": {"--map-size": "24"},
    "rate": {"--map-size": "24"},
    "package": {"--no-verify": None},
}
MADE = {  # what a reader has at the end
    "first_agent": ("runs/first/best", "report.html", "first.tar.gz", "game.html"),
    "own_bot": ("game.html", "runs/ratings/ratings.md", "runs/ratings/ratings.png", "runs/against/best"),
    "reward": ("runs/rubble/best", "runs/own/best", "own.tar.gz"),
    "backbone": ("runs/team/best", "team.tar.gz"),
    "many_machines": ("runs/two/best",),
    "kaggle_episode": ("episode.html", "runs/pupil/latest", "runs/further/best", "runs/late/best"),
}
FAST = ("first_agent", "reward")


def blocks(page: str) -> list[tuple[str, str, str]]:
    """(language, file or nothing, text) of every fenced block."""
    return BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))


def shortened(words: list[str]) -> list[str]:
    """A command of `luxs2` with a small budget."""
    verb, small = words[0], dict(SMALL.get(words[0], {}))
    if "--resume" in words:
        small = {"--env-steps": "128"}
    if "--curriculum.replays" in words:  # which are of a size of their own
        small |= {"--map-size": "48", "--max-turns": "40"}
    if verb == "rate" and len(words) > 1:
        small |= {"--games": "2", "--jobs": "1"}
    for name, value in small.items():
        if value is None:
            words = [*words, name]
        elif name in words:
            words = [*words[: words.index(name) + 1], value, *words[words.index(name) + 2 :]]
        else:
            words = [*words, name, value]
    return words


def run(line: str) -> None:
    """A line of a page: ours in this process, which spares imports, other programs in one of their own."""
    words = shlex.split(line)
    if words[0] == "luxs2":
        assert main(shortened(words[1:])) == 0, line
        return
    if words[0] == "torchrun":
        at = words.index("luxs2")
        words = [*words[: at + 1], *shortened(words[at + 1 :])]
        words = [sys.executable, "-m", "torch.distributed.run", *words[1:]]
    else:
        assert words[0] == "python", line
        words[0] = sys.executable
    programs = Path("programs").resolve()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"


def all_pages() -> list[object]:
    return [page if page in FAST else pytest.param(page, marks=pytest.mark.slow) for page in MADE]


@pytest.mark.parametrize("page", all_pages())
def test_a_tutorial_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("programs").mkdir()
    program = Path("programs/luxs2")
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(ROOT / "main.py"))} "$@"\n')
    program.chmod(0o755)
    if page == "kaggle_episode":  # what the reader has downloaded
        shutil.copy(ROOT / "tests" / "data" / "kaggle_episode.json.gz", "episode.json.gz")
    for name in ("rewards", "nets"):  # of another page's folder
        monkeypatch.delitem(sys.modules, name, raising=False)
    ran = 0
    for language, name, text in blocks(page):
        if name:
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(text)
        elif language == "sh":
            for line in text.splitlines():
                run(line)
                ran += 1
    assert ran >= 2 and all(Path(made).is_file() for made in MADE[page]), list(tmp_path.rglob("*"))


def test_every_tutorial_is_listed_and_tried():
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert pages == set(MADE) and re.findall(r"\]\((\w+)\.md\)", (PAGES / "README.md").read_text()) == list(MADE)
    for page in pages:
        assert all(language in ("", "sh") or name for language, name, _ in blocks(page)), page  # no code that is not run


def test_the_files_of_a_page_keep_to_what_it_says():
    """What is packaged runs on the judge's Python, which `check_python37` reads it for; and the bot needs nothing but Python."""
    (net,) = (text for _, name, text in blocks("backbone") if name == "nets.py")
    check_python37({"own/backbone.py": net.encode()})
    (bot,) = (text for _, name, text in blocks("own_bot") if name)
    assert re.findall(r"^(?:import|from) (\w+)", bot, re.MULTILINE) == ["json", "sys"]
