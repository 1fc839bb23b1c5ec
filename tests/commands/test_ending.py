"""How a command ends that is interrupted, or whose reader has gone: in one line or none, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.run.metrics import read_metrics

MAIN = Path(__file__).resolve().parents[2] / "main.py"
TRAIN = ["train", "--env-steps", "128", "--train-maps", "4", "--eval-every", "0", "--eval-maps", "1", "--device", "cpu"]
TRAIN += ["--ppo.num-games", "4", "--ppo.rollout-steps", "8", "--ppo.minibatches", "2", "--run-dir"]


def begin(*argv: str, **environment: str) -> subprocess.Popen[str]:
    """The command line in a process group of its own, as a terminal starts it."""
    return subprocess.Popen(
        [sys.executable, str(MAIN), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        start_new_session=True,
    )


def test_a_training_goes_on_when_nobody_reads_any_more(tmp_path):
    process = begin(*TRAIN, str(tmp_path / "run"))
    assert process.stdout is not None and process.stdout.readline().startswith("run: ")
    process.stdout.close()
    assert process.wait(300) == 0 and process.stderr is not None and without_notices(process.stderr.read()) == ""
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [32, 64, 96, 128]


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"], ["reproduce", "--help"]])
def test_a_closed_pipe_is_no_error(argv):
    process = begin(*argv)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.wait(120)
    assert process.stderr.read() == ""


def without_notices(errors: str) -> str:
    """What was said on stderr but for what is compiled or made, which depends on the cache."""
    notices = ("Compiling the game for this machine", "Making ", "Ready after ")
    return "".join(line for line in errors.splitlines(keepends=True) if not line.startswith(notices))


def interrupt(process: subprocess.Popen[str], after: float) -> tuple[int, str]:
    """Ctrl-C after so many seconds; the exit code and stderr."""
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(20))
def test_ctrl_c_is_one_line_while_importing_and_compiling(moment, tmp_path):
    """At any moment from the first import to some seconds into compiling into an empty cache."""
    process = begin(*TRAIN, str(tmp_path / "run"), LUXS2_CACHE=str(tmp_path / "cache"))
    code, errors = interrupt(process, 0.2 + 0.9 * moment)
    assert (code, without_notices(errors)) == (130, "Stopped.\n")
