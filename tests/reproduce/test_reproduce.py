"""Reproducing the published table: resumable runs, honest statistics, and a page made from what is stored."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import main
from reproduce.magma import EXPERIMENTS, ROWS, Magma, jobs_of, magma, row_config
from reproduce.measured import CURVE, run_once, spacing
from reproduce.plots import learning_curves, on_one_grid
from reproduce.published import PUBLISHED, aggregate, first_step, median_step, ratio, report
from submission.files import write_whole
from training.presets import PRESETS
from training.run.runs import revision
from training.trajectories.switchboard import PUBLISHED_ROWS

torch.set_num_threads(1)

TIMES = ("wall_seconds", "train_seconds", "eval_seconds")
LEARNED = [name for name in CURVE if name not in TIMES]


def tiny(tmp_path: Path, **changes) -> Magma:
    options = Magma(
        rows=("separate", "single_global"),
        seeds=(1,),
        env_steps=128,
        protocol=("ours",),
        runs=tmp_path / "runs",
        out=tmp_path / "out",
        eval_maps=2,
        eval_every=64,
    )
    return dataclasses.replace(options, **changes)


@pytest.fixture(autouse=True)
def small_rollouts(monkeypatch):
    """The protocol ours with rollouts of 64 env steps on 4 maps; everything else is as it is."""
    demo = PRESETS["demo"]
    ppo = dataclasses.replace(demo.ppo, num_games=4, rollout_steps=16)
    monkeypatch.setitem(PRESETS, "demo", dataclasses.replace(demo, train_maps=4, ppo=ppo))


def made(protocol: str, row: str, seed: int, finished: list[float], ice: float = 100.0, every: int = 4096) -> dict:
    """A stored run with this course of finished games, one evaluation every `every` steps."""
    config = json.loads(json.dumps(dataclasses.asdict(row_config(protocol, row, seed, every * (len(finished) - 1), 12, every))))
    length = [1000.0 * f for f in finished]
    columns: dict[str, list] = {name: [0.0] * len(finished) for name in CURVE}
    columns.update(env_steps=[every * i for i in range(len(finished))], finished=finished, ice=[ice] * len(finished), length=length)
    columns["entropy"][0] = None
    out = {"protocol": protocol, "row": row, "seed": seed, "config": config, "fine_eval_every": every, "revision": "abc1234"}
    return {**out, "device": "cpu", "parameters": 1, "wall_seconds": 2.0, "train_seconds": 1.0, "eval_seconds": 1.0, "curve": columns}


def store(options: Magma, run: dict) -> Path:
    path = options.runs / run["protocol"] / f"{run['row']}-{run['seed']}.json"
    write_whole(path, json.dumps(run))
    return path


def test_runs_are_made_once_and_a_deleted_one_alone_is_made_again_the_same(tmp_path, capsys):
    options = tiny(tmp_path)
    written = magma(options)
    assert "2 runs: 0 stored, 2 to make" in capsys.readouterr().out
    files = sorted(options.runs.rglob("*"))
    assert [p.name for p in files if p.is_file()] == ["separate-1.json", "single_global-1.json"]  # nothing temporary is left
    before = {p: (p.stat().st_mtime_ns, p.read_text()) for p in files if p.is_file()}
    run = json.loads(before[options.runs / "ours" / "separate-1.json"][1])
    assert set(run["curve"]) == set(CURVE) and run["curve"]["env_steps"] == [0, 64, 128]
    assert all(len(values) == 3 for values in run["curve"].values())
    assert run["curve"]["train_seconds"][-1] == pytest.approx(run["train_seconds"])
    assert run["train_seconds"] + run["eval_seconds"] <= 1.1 * run["wall_seconds"]
    assert run["curve"]["length"][0] > 0 and run["parameters"] > 1000 and run["revision"] == revision()

    magma(options)
    assert "2 runs: 2 stored, 0 to make" in capsys.readouterr().out
    assert before == {p: (p.stat().st_mtime_ns, p.read_text()) for p in before}

    gone, kept = options.runs / "ours" / "separate-1.json", options.runs / "ours" / "single_global-1.json"
    gone.unlink()
    magma(options)
    out = capsys.readouterr().out
    assert "1 stored, 1 to make" in out and "ours/separate-1: 128 steps" in out and "single_global-1:" not in out
    assert before[kept][0] == kept.stat().st_mtime_ns
    again = json.loads(gone.read_text())
    for name in LEARNED:
        assert again["curve"][name] == run["curve"][name], name  # same seed, same curve

    page, numbers, plot = written
    assert page.name == "magma.md" and "| `single_global` | our protocol |" in page.read_text()
    assert json.loads(numbers.read_text())["ours"]["separate"]["curves"]["1"]["env_steps"] == [0, 64, 128]
    assert plot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and f"]({plot.name})" in page.read_text()


def test_evaluating_more_often_changes_neither_training_nor_the_shared_evaluations(tmp_path):
    often, seldom = (run_once(jobs_of(tiny(tmp_path, rows=("separate",), eval_every=every))[0])["curve"] for every in (64, 128))
    assert often["env_steps"] == [0, 64, 128] and seldom["env_steps"] == [0, 128]
    for name in LEARNED:
        assert [often[name][i] for i in (0, 2)] == seldom[name], name


def test_several_processes_store_what_one_does(tmp_path):
    options = tiny(tmp_path, rows=("separate", "global_value"), env_steps=64)
    magma(dataclasses.replace(options, jobs=2))
    for job in jobs_of(options):
        spawned, alone = json.loads(job.path.read_text()), run_once(job)
        for name in set(spawned) - {*TIMES, "curve"}:
            assert spawned[name] == alone[name], name
        for name in LEARNED:
            assert spawned["curve"][name] == alone["curve"][name], name


def test_a_run_of_other_settings_is_not_taken_for_this_one(tmp_path):
    options = tiny(tmp_path, rows=("separate",))
    path = store(options, made("ours", "separate", 1, [0.0, 0.5], every=64))
    with pytest.raises(ValueError, match=r"separate-1.json was run with other settings \(env_steps, eval_maps\); delete it"):
        magma(options)
    assert magma(dataclasses.replace(options, report_only=True))[0].exists()
    path.write_text('{"curve": {"env')
    with pytest.raises(ValueError, match="is no stored run"):
        magma(dataclasses.replace(options, report_only=True))


def test_the_paper_protocol_is_the_published_one_and_a_row_changes_only_its_trajectories():
    separate = row_config("paper", "separate", 1, 102_400, 12, 4096)
    ppo = separate.ppo
    pairs = ppo.num_games * ppo.rollout_steps
    assert (pairs, pairs // ppo.minibatches, ppo.epochs, ppo.learning_rate) == (4096, 512, 10, 2e-4)
    assert ppo.clip_value_loss and (ppo.gamma, ppo.gae_lambda, ppo.clip_coef, ppo.ent_coef) == (0.99, 0.95, 0.2, 1e-3)
    for row in ROWS:
        config = row_config("paper", row, 1, 102_400, 12, 4096)
        changed = {f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(separate, f.name)}
        assert changed <= ({"actions"} if row == "lichen_on" else {"grouping", "switches"}), row
        assert bool(changed) == (row != "separate"), row
    assert row_config("paper", "lichen_on", 1, 102_400, 12, 4096).actions.water


def test_the_published_numbers_are_multiples_of_their_evaluations():
    assert set(PUBLISHED_ROWS) <= set(PUBLISHED) and set(ROWS) <= set(PUBLISHED)
    for name, row in PUBLISHED.items():
        for step in (row.to_10, row.to_95):
            assert step is None or (step % 4096 == 0 and 0 < step <= 102_400), name
        assert row.to_95 is None or (row.to_10 is not None and row.to_10 < row.to_95)


def test_never_is_later_than_every_step():
    run = made("paper", "separate", 1, [0.0, 0.05, 0.1, 0.9, 0.95, 0.2])
    assert (first_step(run, 0.1), first_step(run, 0.95), first_step(run, 0.96)) == (2 * 4096, 4 * 4096, None)
    assert median_step([300, None, 100]) == 300
    assert median_step([100, None, None]) is None
    assert median_step([100, 200, 400, None]) == 300
    assert median_step([100, None]) is None
    assert ratio(100, 250, 1000) == "**2.5 times** the steps"
    assert ratio(100, None, 1000) == "**more than 10.0 times** the steps (never within 1,000)"
    assert ratio(None, 100, 1000).startswith("no ratio") and ratio(None, None, 1000).startswith("no ratio")


def test_the_page_tells_statistics_ratios_and_what_was_not_run():
    runs = [made("paper", "separate", seed, [0.0, 0.5, 1.0, 1.0], ice) for seed, ice in ((1, 100.0), (2, 200.0), (3, 300.0))]
    runs += [made("paper", "single_global", 1, [0.0, 0.0, 0.0, 0.0]), made("paper", "single_global", 2, [0.0, 0.0, 0.5, 0.5])]
    runs += [made("paper", "single_global", 3, [0.0, 0.0, 0.5, 0.5])]
    random.Random(0).shuffle(runs)
    page = report(runs, {"paper": "magma-paper.png"})
    assert "| `separate` | the paper's protocol | 200 ± 100 | 1,000 ± 0 | 4,096 | 8,192 | 3 |" in page
    assert "| **separate trajectory for every entity** | published | 44,472 ± 12,065 | 1,000 | 28,672 | 49,152 | 3 |" in page
    assert "| 8,192 (1 of 3 never) | never | 3 |" in page
    assert "**2.0 times** the steps to 10 % finished (separate 4,096, 4,096, 4,096; single_global never, 8,192, 8,192)" in page
    assert "**more than 1.5 times** the steps (never within 12,288) to 95 % finished" in page
    assert "**3.6 times** the steps to 10 %" in page  # the headline of the paper: 102,400 / 28,672
    assert "python main.py reproduce magma --protocol paper --rows separate single_global --seeds 1 2 3" in page
    assert "at revision abc1234" in page and "not all of these runs" not in page.lower()
    missing = next(line for line in page.splitlines() if line.startswith("- Under the paper's protocol:"))
    assert "`global_done`" in missing and "`separate`" not in missing
    assert "- Under our protocol: nothing was run." in page
    runs[0]["config"]["ppo"]["epochs"] = 3
    assert "differ in ppo.epochs" in report(runs, {"paper": "magma-paper.png"})
    assert aggregate(runs)["paper"]["single_global"]["to_10_each"] == [None, 8192, 8192]
    with pytest.raises(ValueError, match="no finished runs"):
        report([], {})


def test_seeds_with_other_evaluations_share_a_grid():
    curves = [{"env_steps": [0, 100, 200], "ice": [0.0, 10.0, 20.0]}, {"env_steps": [0, 50, 300], "ice": [0.0, 10.0, 10.0]}]
    steps, values = on_one_grid(curves, "ice")
    assert steps.tolist() == [0, 50, 100, 200]
    assert np.allclose(values, [[0, 5, 10, 20], [0, 10, 10, 10]])


@pytest.mark.parametrize("log_steps", [False, True])
def test_plots_show_every_step_and_spread_them_over_the_width(log_steps):
    curve = made("ours", "separate", 1, [0.0, 0.1, 0.5, 1.0, 1.0], every=512)["curve"]
    figure = learning_curves({"separate": [curve], "single_global": [curve, curve]}, "title", log_steps)
    figure.canvas.draw()
    for axes in figure.axes:
        x = np.asarray(axes.get_lines()[0].get_xdata())
        assert x.tolist() == curve["env_steps"][int(log_steps) :]
        across = axes.transAxes.inverted().transform(axes.transData.transform(np.stack([x, 0 * x], axis=1)))[:, 0]
        assert across.min() >= 0 and across.max() <= 1 and np.ptp(across) > 0.85
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["separate (1 seed)", "single_global (2 seeds)"]


def test_early_evaluations_are_close_and_never_farther_than_asked():
    steps, last = [], 0
    for now in range(256, 102_401, 256):
        every = spacing(now, 512, 4096)
        if now // every > last // every:
            steps.append(now)
        last = now
    gaps = np.diff([0, *steps])
    assert gaps[0] == 512 and gaps.max() == 4096 and len(steps) < 100
    assert all(gap <= max(512, step / 8) for gap, step in zip(gaps, steps))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["magma", "--rows", "seperate"], r"There is no row 'seperate'; accepted are separate, .*lichen_on\."),
        (["magma", "--rows", "no_action_mask"], r"The row 'no_action_mask' cannot be run: the trainer always masks"),
        (["magma", "--seeds", "1", "1"], r"seeds is '1 1'; at least one is needed, each once\."),
        (["magma", "--report-only", "--runs", "nowhere"], r"There are no finished runs in nowhere; run some first\."),
        (["magma", "--eval-every", "0"], r"eval_every is 0; it must be at least 1\."),
        (["magmar"], r"There is no experiment 'magmar'; accepted are magma"),
        ([], r"No experiment was named; accepted are magma"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(words, sentence, capsys):
    assert main.main(["reproduce", *words]) == 2
    assert re.search("error: " + sentence, capsys.readouterr().err)


def test_help_names_the_experiments(capsys):
    assert main.main(["reproduce", "--help"]) == 0
    assert "magma" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name, (options, _) in EXPERIMENTS.items() if hasattr(options, "report_only")])
def test_published_results_are_not_written_unless_it_is_asked_for(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, experiment = EXPERIMENTS[name]
    report = options(report_only=True)
    if name == "magma":
        store(report, made("ours", "separate", 1, [0.0, 1.0]))
        asked = dataclasses.replace(report, out=Path("docs/results"))
        assert [path.parent for path in experiment(report)] == 3 * [Path("runs/reproduce/magma")] and not Path("docs").exists()
        assert [path.parent for path in experiment(asked)] == 3 * [Path("docs/results")]
    else:
        with pytest.raises(ValueError, match=f"in runs/reproduce/{name}"):
            experiment(report)
        assert report.out is None and not Path("docs").exists()
