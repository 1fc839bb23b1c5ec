"""The notebook runs from top to bottom on a CPU, in five minutes of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
LIMIT = 300  # seconds of one core, compiling included


def test_it_holds_no_results_and_what_a_reader_of_notebooks_expects():
    assert NOTEBOOK["nbformat"] == 4 and NOTEBOOK["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"]) > 12
    for cell in NOTEBOOK["cells"]:
        assert cell["cell_type"] == "markdown" or not cell["outputs"] and cell["execution_count"] is None
    for source in CODE:
        compile(source, "notebook.ipynb", "exec")


@pytest.mark.slow
def test_it_runs_from_top_to_bottom_in_five_minutes(tmp_path):
    """In a process of its own, cell after cell in one namespace, as a kernel does it; figures are made and not shown."""
    (tmp_path / "cells.py").write_text("\n\n".join(CODE))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "LUXS2_CACHE": str(tmp_path / "cache"),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "cells.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert result.returncode == 0, result.stderr
    assert all((tmp_path / made).is_file() for made in ("notebook.tar.gz", "game.html", "runs/notebook/best"))
    assert "wins" in result.stdout and seconds < LIMIT, seconds
    print(f"{seconds:.0f} s of one core")
