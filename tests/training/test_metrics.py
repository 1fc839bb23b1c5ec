"""Metrics files, the clock, and the progress view on a terminal and off it."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.run import progress as progress_module
from training.run.metrics import MetricsWriter, read_metrics
from training.run.progress import COLUMNS, SHOWN, Clock, Progress, duration


def scalars(run: Path, name: str) -> dict[int, float]:
    board = EventAccumulator(str(run), purge_orphaned_data=True).Reload()
    return {event.step: event.value for event in board.Scalars(name)}


def test_both_files_hold_the_same_numbers(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.write(256, {"losses/entropy": torch.tensor(1.5), "charts/SPS": np.float32(100)})
        writer.write(512, {"losses/entropy": 1.25})
        assert len(list(read_metrics(tmp_path))) == 2  # there already: a line is flushed at once
    lines = list(read_metrics(tmp_path))
    assert [line["step"] for line in lines] == [256, 512]
    assert [line["losses/entropy"] for line in lines] == [1.5, 1.25] and lines[0]["charts/SPS"] == 100.0
    assert scalars(tmp_path, "losses/entropy") == {256: 1.5, 512: 1.25}


def test_resume_leaves_no_step_twice(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        for step in (10, 20, 30, 40):
            writer.write(step, {"x": step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 50, "x": 5')  # what a kill leaves
    time.sleep(1.1)  # event files are named by the second
    with MetricsWriter(tmp_path, resume_step=20) as writer:
        for step in (25, 40, 50):
            writer.write(step, {"x": -step})
    assert [(line["step"], line["x"]) for line in read_metrics(tmp_path)] == [(10, 10), (20, 20), (25, -25), (40, -40), (50, -50)]
    assert scalars(tmp_path, "x") == {10: 10, 20: 20, 25: -25, 40: -40, 50: -50}


def test_resume_without_a_file_and_a_second_start(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, resume_step=5) as writer:
        writer.write(6, {"x": 1})
    with pytest.raises(ValueError, match="exists; resume the run, or choose another run folder"):
        MetricsWriter(tmp_path)


def test_lines_are_json_even_without_a_finite_number(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"a": float("nan"), "b": float("inf"), "c": 2})
        with pytest.raises(ValueError, match="'step'"):
            writer.write(1, {"step": 3})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    values = json.loads(line, parse_constant=refuse)
    assert (values["a"], values["b"], values["c"]) == (None, None, 2.0)


class Time:
    """A time that passes when it is told to; `looks` counts who asked."""

    def __init__(self) -> None:
        self.now, self.looks = 100.0, 0

    def perf_counter(self) -> float:
        self.looks += 1
        return self.now


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time of the module."""
    told = Time()
    monkeypatch.setattr(progress_module, "time", told)
    return told


def test_the_clock_splits_all_of_the_time_once(passing: Time) -> None:
    clock = Clock()
    for _ in range(3):
        with clock("update"):
            passing.now += 2
            with clock("forward"):  # counted as forward, not as update too
                passing.now += 3
        passing.now += 1
    split = clock.split()
    assert list(split.items()) == [("update", 6 / 18), ("forward", 9 / 18), ("rest", 3 / 18)]
    assert clock.seconds == {"rest": 3, "update": 6, "forward": 9}


def test_the_clock_survives_an_error_inside_a_section(passing: Time) -> None:
    clock = Clock()
    with pytest.raises(RuntimeError), clock("engine"):
        passing.now += 1
        raise RuntimeError
    passing.now += 3
    assert clock.split() == {"engine": 0.25, "rest": 0.75}


def test_the_clock_is_cheap(passing: Time) -> None:
    """A section looks at the time twice, and is made once."""
    clock = Clock()
    passing.looks = 0
    for _ in range(100):
        with clock("engine"):
            pass
    assert passing.looks == 200 and clock("engine") is clock("engine")


def test_off_a_terminal_it_prints_plain_lines_now_and_then() -> None:
    out = io.StringIO()
    clock = Clock()
    with Progress(1000, clock, console=Console(file=out, width=40), every=0.1) as progress:
        for step in range(0, 600, 2):
            with clock("engine"):
                time.sleep(0.001)
            progress.update(step, {"eval/finished": 0.5, "losses/entropy": torch.tensor(1.234)} if step == 100 else None)
    text = out.getvalue()
    lines = text.splitlines()
    assert 3 <= len(lines) <= 60 and "\x1b" not in text
    assert lines[-1].startswith("training: 598/1,000 steps, ")  # the last state is always printed
    for fact in ("steps/s", " left", "finished 50%", "entropy 1.234", "engine "):
        assert fact in lines[-1]


def test_a_line_fits_on_a_terminal() -> None:
    """However long the name and however much there is to say; what matters most comes first."""
    metrics = {name: 123_456.0 for name, _ in SHOWN.values()}
    for title in ("demo-1", "a-run-of-somebody-who-names-things-at-length"):
        progress = Progress(10**7, Clock(), title=title, console=Console(file=io.StringIO()))
        progress.update(1_234_567, metrics)
        assert 80 < len(progress.line()) <= COLUMNS and progress.line().startswith(title[:20])
        assert "1,234,567/10,000,000 steps" in progress.line() and " left" in progress.line()


def test_on_a_terminal_it_draws_a_panel() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=30)
    clock = Clock()
    with Progress(1000, clock, start_step=100, title="a run", console=console) as progress:
        with clock("update"):
            time.sleep(0.01)
        progress.update(200, {"losses/approx_kl": 0.0125, "charts/ice_per_game": 1234.4})
    text = out.getvalue()
    for fact in ("a run", "200 of 1,000", "steps/s", "0.0125", "1,234", "update", "rest"):
        assert fact in text


def test_speed_counts_this_session_only(passing: Time) -> None:
    progress = Progress(10_000, Clock(), start_step=5000, console=Console(file=io.StringIO()))
    passing.now += 0.5
    progress.update(5100)
    assert progress.steps_per_second() == 200
    for _ in range(4):  # and of that about the last half minute
        passing.now += 10
        progress.update(progress.step + 1000)
    assert progress.steps_per_second() == 100


def test_duration() -> None:
    assert [duration(s) for s in (0, 59.6, 61, 3600, 7322, -1)] == ["0:00", "1:00", "1:01", "1:00:00", "2:02:02", "0:00"]
