"""The claims off the game: resumable runs, verdicts by the numbers, and a page that says what holds and what does not."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import main
from reproduce import claims
from reproduce.claims import NAMES, Options, mast, reproduce
from reproduce.claims.adaps import purity
from reproduce.claims.bun import recall_precision, relative_loss
from reproduce.claims.experiment import VARIANTS, Claim, Experiment, Row, Verdict, ahead, find, gain, jobs_of, keeps, report
from reproduce.claims.sparse import DENSE, LEVELS, parameters, small_width
from reproduce.tasks.learn import LearnConfig, Learner
from reproduce.tasks.q_learn import QLearner

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
    return {**out, "stats": stats, "measures": {"final": final, **measures}, "train_seconds": 1.0, "wall_seconds": 1.0}


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
    assert "python main.py reproduce sparse --seeds 1 2" in page and "| RigL | 2 |" in page and "not run" in page
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and f"]({path.name})" in page for path in written[1:])


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


def test_verdicts_follow_from_the_numbers():
    rows = {
        "high": [made("high", seed, 0.0, final) for seed, final in enumerate((9.0, 10.0, 11.0))],
        "near": [made("near", seed, 0.0, final) for seed, final in enumerate((8.0, 10.0, 11.0))],
        "low": [made("low", seed, 0.0, final) for seed, final in enumerate((4.0, 5.0, 6.0))],
    }
    assert ahead("high", "low")(rows) == Verdict("10.00 ± 1.00 against 5.00 ± 1.00", True)
    assert not ahead("low", "high")(rows).holds and not ahead("high", "near")(rows).holds  # within the error
    assert keeps("near", "high", 0.95)(rows).holds and not keeps("low", "high", 0.95)(rows).holds
    assert ahead("one", "low")({**rows, "one": rows["high"][:1]}).holds is None  # a single seed has no error
    assert not keeps("high", "none", 0.95)({**rows, "none": [made("none", 1, 0.0, -1.0)]}).holds
    assert gain(made("x", 1, -3.0, 2.0)) == 5.0


def test_the_page_tells_what_holds_what_does_not_and_what_was_not_run():
    claims = [
        Claim("high is ahead", "yes", ("high", "low"), ahead("high", "low")),
        Claim("low is ahead", "yes", ("high", "low"), ahead("low", "high"), "it is low"),
        Claim("nobody knows", "yes", ("missing",), ahead("missing", "low")),
    ]
    titles = {name: Row(name, TINY) for name in ("high", "low", "missing")}
    experiment = Experiment("x", "Title", "About.", titles, lambda _: {}, claims, lambda _: {}, {})
    rows = {name: [made(name, seed, 0.0, final + seed / 10) for seed in (1, 2)] for name, final in (("high", 9.0), ("low", 1.0))}
    page = report(experiment, rows, [("A plot.", "plot.png")])
    assert "| high is ahead | yes | 9.15 ± 0.07 against 1.15 ± 0.07 | yes |" in page
    assert "| low is ahead | yes | 1.15 ± 0.07 against 9.15 ± 0.07 | **no** |" in page and "- *low is ahead*: it is low" in page
    assert "| nobody knows | yes | not run | - |" in page and "![A plot.](plot.png)" in page


def test_one_seed_judges_only_what_is_counted():
    for counted, shown in ((False, "one seed cannot say"), (True, "yes")):
        claim = Claim("high keeps up", "yes", ("high", "low"), keeps("high", "low", 0.95), counted=counted)
        rows = {name: [made(name, 1, 0.0, final)] for name, final in (("high", 9.0), ("low", 1.0))}
        titles = {name: Row(name, TINY) for name in rows}
        page = report(Experiment("x", "Title", "About.", titles, lambda _: {}, [claim], lambda _: {}, {}), rows, [])
        assert f"| {shown} |" in page


def test_the_page_names_the_command_that_made_its_runs():
    experiment = Experiment("x", "Title", "About.", {name: Row(name, TINY) for name in ("high", "low")}, lambda _: {}, [], lambda _: {}, {})
    rows = {name: [made(name, 1, 0.0, 1.0)] for name in ("high", "low")}
    assert "reproduce x --seeds 1\n" in report(experiment, rows, [])
    assert "reproduce x --seeds 1 --rows low\n" in report(experiment, {"low": rows["low"]}, [])
    for found in rows.values():
        found[0]["config"]["env_steps"] = TINY.env_steps // 4
    assert "reproduce x --seeds 1 --scale 0.25\n" in report(experiment, rows, [])


def test_measures_against_hand_made_ones():
    assert purity(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])) == 1.0
    assert purity(np.array([0, 0, 0, 0]), np.array([0, 0, 1, 2])) == 0.5
    run = made("x", 1, 0.0, 8.0, noise=[8.0, 6.0, 0.0], edges=[[0, 3], [1, 0]], planted=[[0, 1], [0, 0]])
    assert relative_loss(run) == [0.0, 0.25, 1.0]
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
    assert asked == [("communication", (1, 2, 3)), ("communication_iql", (1, 2, 3, 4, 5))]


def test_the_command_line_names_all_experiments(capsys):
    assert main.main(["reproduce", "--help"]) == 0
    said = capsys.readouterr().out.split("one of:")[1]
    assert all(name in said for name in NAMES)
    assert main.main(["reproduce", "poker"]) == 2
    assert "accepted are magma, backbones, opening, dials, bun, communication, adaps, sparse, mast" in capsys.readouterr().err
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
