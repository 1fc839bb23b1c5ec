"""The claims off the game: resumable runs, verdicts by the numbers, and a page that says what holds and what does not."""

from __future__ import annotations

import dataclasses
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

import main
from reproduce import claims
from reproduce.claims import NAMES, Options, mast, reproduce
from reproduce.claims.adaps import purity
from reproduce.claims.bun import lost, recall_precision
from reproduce.claims.experiment import VARIANTS, Experiment, Row, find, jobs_of
from reproduce.claims.judges import (
    Claim,
    above_number,
    ahead,
    at_most,
    falls_short,
    gain,
    keeps,
    less,
    lowest,
    mostly,
    no_better,
    rise,
    times_fewer,
)
from reproduce.claims.page import report, settle
from reproduce.claims.sparse import DENSE, LEVELS, parameters, small_width
from reproduce.tasks.learn import LearnConfig, Learner
from reproduce.tasks.q_learn import QLearner
from reproduce.verdicts import HOLDS, NOT_SHOWN, REFUTED

TINY = LearnConfig(task="cue", width=16, env_steps=256, envs=16, rollout_steps=8, epochs=1, minibatches=2, evaluations=2, eval_episodes=8)


@pytest.fixture
def tiny(monkeypatch):
    """The experiment sparse cut down to two rows of 256 steps."""
    found = find("sparse")
    rows = {
        "dense": Row("dense", TINY),
        "rigl_90": Row("RigL", dataclasses.replace(TINY, sparsity=0.5, sparse={"interval": 2, "window": 1})),
    }
    monkeypatch.setattr("reproduce.claims.sparse.EXPERIMENT", found._replace(rows=rows))


def made(row: str, seed: int, start: float, final: float, **measures) -> dict:
    """A stored run with these returns."""
    curve = {"env_steps": [0, 256], "return": [start, final], "cpu_seconds": [0.0, 1.0]}
    out = {"row": row, "seed": seed, "config": {"task": "cue", "env_steps": 256}, "revision": "abc1234", "curve": curve}
    stats = {"parameters": 10.0, "flops": 20.0}
    return {**out, "stats": stats, "measures": {"final": final, "random": start, **measures}, "train_seconds": 1.0, "wall_seconds": 1.0}


def test_runs_are_made_once_and_a_deleted_one_alone_is_made_again_the_same(tiny, tmp_path, capsys):
    options = Options(seeds=(1, 2), jobs=1, runs=tmp_path / "runs", out=tmp_path / "out")
    written = reproduce("sparse", options)
    assert "4 runs: 0 stored, 4 to make" in capsys.readouterr().out
    files = sorted((options.runs / "sparse").iterdir())
    assert [path.name for path in files] == ["dense-1.json", "dense-2.json", "rigl_90-1.json", "rigl_90-2.json"]
    before = {path: path.read_text() for path in files}
    gone = files[2]
    gone.unlink()
    reproduce("sparse", options)
    out = capsys.readouterr().out
    assert "4 runs: 3 stored, 1 to make" in out and "rigl_90-1: 256 steps" in out and "dense-1:" not in out
    again, first = json.loads(gone.read_text()), json.loads(before[gone])
    assert again["curve"]["return"] == first["curve"]["return"] and again["measures"] == first["measures"]
    assert first["measures"]["present"] < first["measures"]["places"]
    page = written[0].read_text()
    for text in written[-1].read_text().splitlines():
        kept = json.loads(text)
        whole = json.loads(before[options.runs / "sparse" / f"{kept['row']}-{kept['seed']}.json"])
        assert kept["config"] == whole["config"] and kept["measures"]["final"] == pytest.approx(whole["measures"]["final"], rel=1e-5)
    assert "python main.py reproduce sparse --seeds 1 2" in page and "| RigL (`rigl_90`) | 2 |" in page and "not run" in page
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and f"]({path.name})" in page for path in written[1:-1])


def test_a_page_is_made_again_from_the_kept_runs_alone(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Options(seeds=(1, 2), jobs=1)
    with pytest.raises(ValueError, match="There are no finished runs in runs/reproduce/sparse, and none in docs/results/runs/sparse.jsonl"):
        reproduce("sparse", dataclasses.replace(options, report_only=True))
    published, *_ = reproduce("sparse", dataclasses.replace(options, out=Path("docs/results")))
    shutil.rmtree("runs")
    again, *others = reproduce("sparse", dataclasses.replace(options, report_only=True))
    assert again == Path("runs/reproduce/sparse/sparse.md") and again.read_text() == published.read_text()
    assert all(path.parent == again.parent for path in others)  # nothing published was touched


def test_a_run_of_other_settings_is_not_taken_for_this_one(tiny, tmp_path):
    options = Options(seeds=(1,), jobs=1, runs=tmp_path / "runs", out=tmp_path / "out")
    reproduce("sparse", options)
    with pytest.raises(ValueError, match=r"dense-1.json was run with other settings \(env_steps\); delete it"):
        reproduce("sparse", dataclasses.replace(options, scale=0.5))
    assert reproduce("sparse", dataclasses.replace(options, scale=0.5, report_only=True))


@pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
def test_every_row_can_be_built_and_every_claim_names_rows_that_there_are(name):
    experiment = find(name)
    for row in experiment.rows.values():
        small = {"envs": 4, "minibatches": 1} if experiment.learner is Learner else {"envs": 4}
        experiment.learner(dataclasses.replace(row.config, **small))
    for claim in experiment.claims:
        assert claim.needs and set(claim.needs) <= set(experiment.rows), claim.text
    assert {row for rows in experiment.panels.values() for row in rows} <= set(experiment.rows)
    assert len({claim.text for claim in experiment.claims}) == len(experiment.claims)


SEEDS = (1, 2, 3, 4, 5)
NOISE = (0.05, -0.1, 0.02, 0.07, -0.04)
FINALS = {"high": 10.0, "near": 9.95, "low": 5.0}
TITLES = {name: Row(name, TINY) for name in (*FINALS, "missing")}


def rows_of(**finals: float) -> dict[str, list[dict]]:
    """Runs of five seeds each, about so high."""
    noise = {name: np.roll(NOISE, place) for place, name in enumerate(finals)}
    return {
        name: [made(name, seed, 0.0, value + float(shaken)) for seed, shaken in zip(SEEDS, noise[name])] for name, value in finals.items()
    }


def page_of(claims: list[Claim], rows: dict[str, list[dict]]) -> str:
    return report(Experiment("x", "Title", "About.", TITLES, lambda _: {}, claims, lambda _: {}, {}), rows, {"plot.png": "A plot."})


@pytest.mark.parametrize(
    ("judge", "verdict"),
    [
        (ahead("high", "low"), HOLDS),
        (ahead("low", "high"), REFUTED),
        (ahead("high", "near"), NOT_SHOWN),
        (keeps("near", "high", 0.95), HOLDS),
        (keeps("low", "high", 0.95), REFUTED),
        (keeps("near", "high", 0.995), NOT_SHOWN),
        (falls_short("low", "high", 0.95), HOLDS),
        (falls_short("near", "high", 0.95), REFUTED),
        (no_better("near", "high"), HOLDS),
        (no_better("high", "low"), REFUTED),
        (lowest("low", ["near", "high"]), HOLDS),
        (lowest("high", ["near", "low"]), REFUTED),
        (lowest("near", ["low", "high"]), REFUTED),
        (less("low", "high", gain, "gains"), HOLDS),
        (above_number("low", gain, 4.0, "gain"), HOLDS),
        (above_number("low", gain, 6.0, "gain"), REFUTED),
        (mostly("low", lambda run: gain(run) < 6.0, lambda runs: ""), NOT_SHOWN),  # five of five may be chance
        (times_fewer("low", "high", gain, 1.9), HOLDS),
        (times_fewer("low", "high", gain, 2.1), REFUTED),
        (at_most("low", "high", gain, 0.51), HOLDS),
        (at_most("near", "high", gain, 0.51), REFUTED),
    ],
)
def test_verdicts_follow_from_the_numbers(judge, verdict):
    (entry,) = settle([Claim("text", "paper", (), judge)], rows_of(**FINALS))
    assert entry.verdict == verdict, entry


def test_a_seed_alone_settles_only_what_is_counted():
    rows = {name: found[:1] for name, found in rows_of(**FINALS).items()}
    learned, counted = settle(
        [Claim("one", "", (), keeps("high", "low", 0.95)), Claim("two", "", (), times_fewer("low", "high", gain, 1.9))], rows
    )
    assert learned.verdict == NOT_SHOWN and learned.p is None and counted.verdict == HOLDS
    assert "| too few seeds |  | not shown |" in page_of([learned.claim], rows)


def test_verdicts_of_a_page_are_corrected_together():
    """What holds alone at 4 % does not beside a second claim like it."""
    rows = rows_of(high=10.0, low=9.93)
    claim = Claim("high is ahead", "", (), ahead("high", "low"))
    (alone,) = settle([claim], rows)
    assert alone.p is not None and alone.p > 0.01
    twice = settle([claim, claim._replace(text="again")], rows)
    assert all(entry.p == pytest.approx(min(1.0, 2 * alone.p)) for entry in twice)


def test_remarks_are_computed_from_the_runs():
    rows = rows_of(**FINALS)
    assert ahead("high", "near")(rows).remarks[0].startswith("gains equal within 5% (p 0.0")
    assert not ahead("high", "low")(rows).remarks[1:]
    for run in rows["high"]:  # rises steadily to the end
        run["curve"] = {"env_steps": [0, 192, 256], "return": [0.0, 8.0, 9.0], "cpu_seconds": [0.0, 1.0, 2.0]}
    for run in rows["low"]:  # has not risen for a quarter
        run["curve"] = {"env_steps": [0, 192, 256], "return": [0.0, 5.0, 5.0], "cpu_seconds": [0.0, 1.0, 2.0]}
    assert rise(rows["high"][0]) == 1.0 and rise(rows["low"][0]) == 0.0
    assert ahead("high", "low")(rows).remarks == ("still rising: `high`",)
    assert gain(made("x", 1, -3.0, 2.0)) == 5.0


def test_the_page_tells_what_holds_what_is_refuted_what_is_not_shown_and_what_was_not_run():
    claims = [
        Claim("high is ahead", "yes", ("high", "low"), ahead("high", "low")),
        Claim("low is ahead", "yes", ("high", "low"), ahead("low", "high")),
        Claim("high is ahead of near", "yes", ("high", "near"), ahead("high", "near")),
        Claim("nobody knows", "yes", ("missing",), ahead("missing", "low")),
    ]
    page = page_of(claims, rows_of(**FINALS))
    assert "Of 3 claims: 1 holds, 1 refuted, 1 not shown; 3 of them were tested. 1 more were not run." in page
    assert "| high is ahead | yes | 10.00 ± 0.07 against 5.00 ± 0.07 | 5.00 [4.88, 5.12] | < 0.001 | holds |" in page
    assert "| < 0.001 | **refuted** |" in page and "- low is ahead: 5.00 ± 0.07 against 10.00 ± 0.07; -5.00 [-5.12, -4.88]." in page
    assert "| not shown | 0." in page and "(5 seeds); gains equal within 5%" in page
    assert "| nobody knows | yes | not run |" in page and "![A plot.](plot.png)" in page


def test_the_page_names_the_command_that_made_its_runs():
    experiment = Experiment("x", "Title", "About.", {name: Row(name, TINY) for name in ("high", "low")}, lambda _: {}, [], lambda _: {}, {})
    rows = {name: [made(name, 1, 0.0, 1.0)] for name in ("high", "low")}
    assert "reproduce x --seeds 1\n" in report(experiment, rows, {})
    assert "reproduce x --seeds 1 --rows low\n" in report(experiment, {"low": rows["low"]}, {})
    for found in rows.values():
        found[0]["config"]["env_steps"] = TINY.env_steps // 4
    assert "reproduce x --seeds 1 --scale 0.25\n" in report(experiment, rows, {})


def test_measures_against_hand_made_ones():
    assert purity(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])) == 1.0
    assert purity(np.array([0, 0, 0, 0]), np.array([0, 0, 1, 2])) == 0.5
    run = made("x", 1, 0.0, 8.0, gaussian=[6.0, 0.0], edges=[[0, 3], [1, 0]], planted=[[0, 1], [0, 0]])
    assert lost("gaussian")(run) == (0.25 + 1.0) / 2
    assert recall_precision(run) == (1.0, 0.75)


def test_the_small_dense_policy_is_as_large_as_the_sparse_one():
    for percent in LEVELS:
        narrow = small_width(percent)
        small = Learner(dataclasses.replace(DENSE, width=narrow)).policy.stats()["parameters"]
        sparse = Learner(dataclasses.replace(DENSE, sparsity=percent / 100)).policy.stats()["parameters"]
        assert small == parameters(narrow) and abs(small / sparse - 1) < 0.05


def test_the_small_dense_learner_is_as_large_as_the_sparse_one_and_all_layers_are_counted():
    assert QLearner(mast.DENSE).stats()["parameters"] == sum(mast.parameters(64, 32, 64))
    for percent in mast.LEVELS:
        small = QLearner(mast.small(percent)).stats()["parameters"]
        sparse = QLearner(mast.EXPERIMENT.rows[f"mast_{percent}"].config).stats()["parameters"]
        assert abs(small / sparse - 1) < 0.06


def test_q_learning_experiments_run_by_the_same_code(monkeypatch, tmp_path, capsys):
    """Two rows of each cut down, by the commands that users type."""
    tiny_q = {"env_steps": 100, "envs": 4, "batch": 4, "recent": 0, "recent_batch": 0, "evaluations": 1, "eval_episodes": 4}
    for module, words in (("mast", ["mast"]), ("communication_iql", ["communication", "--algo", "iql"])):
        found = find(module)
        rows = {
            name: row._replace(config=dataclasses.replace(row.config, **tiny_q, options={"horizon": 10} if "hunt" in name else {}))
            for name, row in list(found.rows.items())[:1] + list(found.rows.items())[-1:]
        }
        monkeypatch.setattr(f"reproduce.claims.{module}.EXPERIMENT", found._replace(rows=rows))
        folders = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path), "--jobs", "1"]
        assert main.main(["reproduce", *words, *folders, "--seeds", "1"]) == 0
        page = (tmp_path / f"{module}.md").read_text()
        assert f"python main.py reproduce {' '.join(words)} --seeds 1" in page and "FLOPs of learning" in page and "actions greedy" in page
    assert claims.Mast().seeds == (1, 2, 3, 4, 5)
    asked = []
    monkeypatch.setattr("reproduce.claims.reproduce", lambda name, options: asked.append((name, options.seeds)) or [])
    claims.reproduce_communication(claims.Communication())
    claims.reproduce_communication(claims.Communication(algo="iql"))
    assert asked == [("communication", tuple(range(1, 11))), ("communication_iql", (1, 2, 3, 4, 5))]


def test_the_command_line_names_all_experiments(capsys):
    assert main.main(["reproduce", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in NAMES)
    assert main.main(["reproduce", "poker"]) == 2
    assert "accepted are magma, backbones, opening, dials, bun, communication, adaps, sparse, mast, claims, task" in capsys.readouterr().err
    with pytest.raises(ValueError, match="There is no experiment 'poker'"):
        find("poker")
    with pytest.raises(ValueError, match="There is no row 'cue' of bun; accepted are navigation_dense"):
        jobs_of(find("bun"), Options(rows=("cue",)))
    assert [job.name for job in jobs_of(find("bun"), Options(rows=("cue_grown",), seeds=(2,)))] == ["bun/cue_grown-2"]
    with pytest.raises(ValueError, match="jobs is 0"):
        jobs_of(find("bun"), Options(jobs=0))


@pytest.mark.parametrize("name", ["dense", "bun", "communication", "adaps"])
def test_the_example_trains_every_backbone(name, capsys):
    example = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "example_backbone.py"))
    score = example["train"](name, 3, 1)
    assert np.isfinite(score) and "iteration 3 of 3" in capsys.readouterr().out


@pytest.mark.slow
def test_the_example_learns_what_full_sharing_cannot(capsys):
    train = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "example_backbone.py"))["train"]
    assert train("bun", 40, 1) > -25.0 > train("dense", 40, 1)
