"""The report: what it says of one run and of several, and the page itself in a real browser."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from main import main
from tests.browser import CHROMIUM, NO_CHROMIUM, Page, browser
from training.config import LeagueConfig, PPOConfig, TrainConfig
from training.report import write_report
from training.report.curves import POINTS, curve_of, training_seconds
from training.run.health import record_alarm
from training.run.metrics import MetricsWriter, read_metrics
from training.run.sessions import command
from training.train import train

torch.set_num_threads(1)

PPO = PPOConfig(num_games=4, rollout_steps=8, epochs=2, minibatches=2)
SMALL = TrainConfig(env_steps=128, train_maps=4, eval_every=10**9, eval_maps=1, checkpoint_every=64, max_turns=20, device="cpu", ppo=PPO)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs, the first one with a league and an alarm, the second one with other settings."""
    one, other = tmp_path_factory.mktemp("runs") / "<one>", tmp_path_factory.mktemp("runs") / "other"
    train(dataclasses.replace(SMALL, league=LeagueConfig(share=0.5, scripted=("miner",), max_steps=64, match_games=2)), one)
    record_alarm(one, 96, "The values are <odd>.")
    train(dataclasses.replace(SMALL, seed=7, env_steps=192, ppo=dataclasses.replace(PPO, gamma=0.5)), other)
    return one, other


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One tab of a headless Chromium."""
    assert CHROMIUM is not None
    with browser(CHROMIUM, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def show(tab: Page, path: Path, width: int = 1280) -> None:
    """Open a report and wait until it is drawn."""
    tab.size(width, 860)
    tab.messages.clear()
    tab.requests.clear()
    tab.go(path)
    tab.wait("document.documentElement.dataset.ready")


def cells(tab: Page, row: str) -> list[str]:
    """The cells of the table row that begins so."""
    rows = tab.run("[...document.querySelectorAll('tr')].map(row => [...row.children].map(cell => cell.innerText))")
    return next(found[1:] for found in rows if found and found[0] == row)


def test_training_time_leaves_pauses_out_but_not_evaluations() -> None:
    times = [0, 1, 2, 100, 101, 5000, 5001]  # an evaluation before the fourth line, a night before the sixth
    lines = [{"step": i, "time": float(t), **({"eval/finished": 1.0} if t == 100 else {})} for i, t in enumerate(times)]
    assert training_seconds(lines).tolist() == [0, 1, 2, 100, 101, 102, 103]


def test_a_curve_of_many_points_keeps_its_means() -> None:
    lines: list[dict[str, Any]] = [{"step": 10 * i, "x": float(i), "y": None} for i in range(1000)]
    steps, seconds, values = curve_of("x", lines, np.arange(1000.0) / 2)
    assert len(values) == POINTS and np.allclose(values, np.arange(1.5, 1000, 4))
    assert np.allclose(steps, 10 * values) and np.allclose(seconds, values / 2)
    assert curve_of("y", lines, np.arange(1000.0)).size == 0


@needs_chromium
def test_a_report_is_one_page_that_needs_nothing_else(
    runs: tuple[Path, Path], tab: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(runs[0]), "-o", str(page)]) == 0
    assert "plots" in capsys.readouterr().out
    show(tab, page)
    shown = tab.run("document.body.innerText")
    for words in ("<one>", "The values are <odd>.", "step-64", "entropy", "explained variance", "gradient norm", "ratings of the pool"):
        assert words in shown, words
    assert cells(tab, "steps") == ["128 of 128"] and cells(tab, "latest checkpoint") == ["step-000000128"]
    assert cells(tab, "versions")[0].startswith("python 3.") and f"torch {torch.__version__}" in cells(tab, "versions")[0]
    assert "cores" in cells(tab, "machine")[0] and cells(tab, "command") == [command()]
    last: dict[str, float] = {}
    for line in read_metrics(runs[0]):
        last.update(line)
    assert cells(tab, "ice, last evaluation") == [tab.run(f"figure({last['eval/ice_transferred']})")]
    assert tab.run("document.querySelectorAll('.uplot').length") >= 12
    assert tab.messages == [] and all(url.startswith("file://") for url in tab.requests)
    text = page.read_text(encoding="utf-8")
    write_report([runs[0]], page)
    assert page.read_text(encoding="utf-8") == text and "Leon Sorokin" in text  # the licence of what draws


@needs_chromium
def test_several_runs_on_one_page(runs: tuple[Path, Path], tab: Page, tmp_path: Path) -> None:
    write_report(list(runs), tmp_path / "page.html")
    show(tab, tmp_path / "page.html")
    assert cells(tab, "steps") == ["128 of 128", "192 of 192"]
    # what was changed comes first, the rest is folded
    assert cells(tab, "ppo.gamma") == ["0.99", "0.5", "0.99"] and cells(tab, "seed") == ["1", "7", "1"]
    folded = "[...document.querySelectorAll('details')].pop()"
    assert not tab.run(f"{folded}.open") and "ppo.gamma" not in tab.run(f"{folded}.textContent")
    assert "ppo.vf_coef" in tab.run(f"{folded}.textContent")
    # both runs' curves are the files'
    panel = tab.run("data.panels.find(panel => panel.title === 'entropy').curves")
    for curve, run in zip(panel, runs):
        lines = [line for line in read_metrics(run) if line.get("losses/entropy") is not None]
        assert curve[2] == [line["step"] for line in lines] and np.allclose(curve[4], [line["losses/entropy"] for line in lines], rtol=1e-4)
        assert len(curve[3]) == len(lines) and curve[3][0] == 0
    # the place under the pointer has a value of both, also where only one of them has a line
    values = """(plot => {
        plot.setCursor({left: plot.over.clientWidth - 2, top: 20});
        return [...plot.root.querySelectorAll('.u-value')].map(value => value.innerText);
    })(state.plots.find(plot => plot.root.parentElement.innerText.startsWith('entropy')))"""
    last = [list(read_metrics(run))[-1] for run in runs]
    assert tab.run(values) == ["192", *(tab.run(f"figure({line['losses/entropy']:.6g})") for line in last)]
    tab.run("(s => { s.value = 'time'; s.dispatchEvent(new Event('change')) })(document.getElementById('axis'))")
    seconds = max(curve[3][-1] for curve in panel)
    assert tab.run(values)[0] == tab.run(f"duration({seconds})")
    assert tab.messages == []


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_looks_in_light_and_dark(width: int, runs: tuple[Path, Path], tab: Page, tmp_path: Path) -> None:
    write_report(list(runs), tmp_path / "page.html")
    pictures = {}
    for theme in ("light", "dark"):
        tab.theme(theme)
        show(tab, tmp_path / "page.html", width)
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        tab.run("[...document.querySelectorAll('figure')].find(figure => figure.innerText.startsWith('entropy')).scrollIntoView()")
        tab.screenshot(tmp_path / f"report-{width}-{theme}.png")
        pictures[theme] = np.array(Image.open(tmp_path / f"report-{width}-{theme}.png").convert("RGB"), int)
        for run in range(2):  # a line of either run is to be seen
            red, green, blue = tab.run(f"(h => [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16)))(style('run{run}'))")
            near = np.abs(pictures[theme] - [red, green, blue]).max(-1) < 12
            assert near.sum() > 100, (theme, run)
    assert pictures["light"].mean() > 200 and pictures["dark"].mean() < 80
    print(f"screenshots: {tmp_path}")


def test_a_run_of_tasks_has_a_report(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with MetricsWriter(run, settings={"lr": 1e-3}) as metrics:
        metrics.write(1000, {"charts/lichen": 20_000.0, "eval/share_rule": 0.4, "losses/entropy/heavies": 1.0})
    (run / "config.json").write_text(json.dumps({"tasks": {"kinds": ["heavies"], "lr": 1e-3}}))
    assert write_report([run], tmp_path / "page.html") == 3
    text = (tmp_path / "page.html").read_text()
    assert "share of the lichen against the rule" in text and "losses/entropy/heavies" in text and "<b>0.001</b>" in text


def test_what_is_no_run_or_too_much_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "page.html")]) == 2
    assert "has no checkpoint" in capsys.readouterr().err
    with pytest.raises(ValueError, match="9 runs are named; a report shows 1 to 8"):
        write_report([tmp_path] * 9, tmp_path / "page.html")
    (tmp_path / "config.json").write_text('{"tasks": {}}')
    with pytest.raises(ValueError, match="has no metrics.jsonl"):
        write_report([tmp_path], tmp_path / "page.html")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="is named twice"):
        write_report([tmp_path, tmp_path], tmp_path / "page.html")
