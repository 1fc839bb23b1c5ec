"""Temporary folders: those of killed processes are removed by the next one, those of living ones are not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from arena.scratch import Scratch

HOLD = "from arena.scratch import Scratch; import time; s = Scratch('rating'); print(s.path, flush=True); time.sleep(600)"


def test_what_a_killed_process_leaves_is_removed_and_what_a_living_one_has_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    others = tmp_path / "luxs2-notes-of-mine"
    others.symlink_to(tmp_path)
    folders, holders = [], []
    for _ in range(2):
        holder = subprocess.Popen([sys.executable, "-c", HOLD], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        folders.append(Path(holder.stdout.readline().strip()))
        (folders[-1] / "agent" / "deep").mkdir(parents=True)
        holders.append(holder)
    holders[0].kill()
    holders[0].wait()
    for folder in folders:
        os.utime(folder, (time.time() - 3600, time.time() - 3600))
    try:
        with Scratch("player") as mine:
            assert not folders[0].exists() and (folders[1] / "agent" / "deep").is_dir() and mine.is_dir()
    finally:
        holders[1].kill()
        holders[1].wait()
    assert sorted(tmp_path.iterdir()) == sorted([others, folders[1]])
