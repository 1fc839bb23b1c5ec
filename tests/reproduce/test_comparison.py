"""Comparing the backbones on the game: one setting changes, claims follow from the numbers, and the page is made of what is stored."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from reproduce import comparison
from reproduce.comparison import ROWS, Backbones, backbones, claims, job_of, report
from reproduce.measured import CURVE, plain
from training.presets import PRESETS

torch.set_num_threads(1)


def made(row: str, seed: int, finished: float, ice: float, **stats: float) -> dict:
    """A stored run that ends with these scores."""
    curve: dict[str, list] = {name: [0.0, 0.0] for name in CURVE}
    curve.update(env_steps=[0, 51_200], finished=[0.0, finished], ice=[0.0, ice], entropy=[None, 0.1])
    numbers = {"parameters": 100.0, "policy_parameters": 200.0, "flops": 1000.0, **stats}
    config = plain(job_of(Backbones(), row, seed).config)
    out = {"row": row, "seed": seed, "config": config, "revision": "abc1234", "stats": numbers, "train_seconds": 1.0}
    return {**out, "curve": curve}


def test_rows_differ_from_the_demo_preset_in_the_policy_alone():
    demo = PRESETS["demo"]
    for row in ROWS:
        config = job_of(Backbones(), row, 3).config
        changed = {f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(demo, f.name)}
        assert changed <= {"policy", "seed", "eval_maps", "eval_every"}, row
        assert ("policy" in changed) == (row != "dense")


def test_verdicts_follow_from_the_numbers():
    runs = {
        "dense": [made("dense", seed, 1.0, 100.0 + seed) for seed in (1, 2, 3)],
        "bun": [made("bun", 1, 1.0, 99.0, flops=200.0), made("bun", 2, 0.9, 101.0, flops=200.0), made("bun", 3, 1.0, 102.0, flops=200.0)],
        "dense_team": [made("dense_team", seed, 1.0, 100.0 + seed, flops=1000.0) for seed in (1, 2, 3)],
        "sparse_90": [made("sparse_90", seed, 1.0, 90.0 + seed + 0.1 * (seed == 2)) for seed in (1, 2, 3)],
    }
    verdict = {claim.split(" (")[0]: claim.rsplit(": ", 1)[1] for claim in claims(runs)}
    assert verdict == {
        "BUN finishes at least 95 % of the games in each of these seeds": "**refuted**.",  # not in the worst one
        "dense, 90 % sparse": "holds.",
        "BUN needs at most 25 % of the FLOPs of the team network with all weights": "holds.",
        "`bun` has at least 95% of the ice of `dense_team`": "holds.",
        "`sparse_90` has at least 97% of the ice of `dense`": "**refuted**.",
    }


@pytest.mark.parametrize(
    ("learned", "said"),
    [
        ((110.0, 111.1, 112.0), "holds."),
        ((90.0, 111.0, 132.0), "not shown."),
        ((90.0, 91.1, 92.0), "**refuted**."),
        ((110.0,), "not shown."),
    ],
)
def test_learned_messages_must_be_ahead_by_more_than_chance(learned, said):
    found = {"communication": learned, "communication_frozen": (100.0, 101.0, 102.0)}
    by_row = {row: [made(row, seed, 1.0, ice) for seed, ice in enumerate(ices)] for row, ices in found.items()}
    (claim,) = (claim for claim in claims(by_row) if "ahead" in claim)
    assert claim.endswith(f": {said}")


def test_the_page_has_the_numbers_the_command_and_what_is_missing():
    found = {"dense": [made("dense", seed, 1.0, 100.0 * seed) for seed in (1, 3)], "bun": [made("bun", 1, 1.0, 50.0)]}
    page = report(found, {"dense": 1234.0, "bun": 567.0})
    assert "reproduce backbones --rows dense bun --seeds 1 3 --env-steps 102400 --eval-maps 32 --eval-every 25600\n" in page
    assert "| dense | 200 ± 141 | 100% | 51,200 | 100 | 200 | 1,000 | 1,234 | 1 |" in page
    assert "With fewer seeds than the others: `bun` (1)." in page and "Not run: `bun_blocks`" in page


def test_written_from_stored_runs_only(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(comparison, "ROUNDS", 1)
    monkeypatch.setattr(comparison, "TURNS", 2)
    options = Backbones(rows=("dense",), seeds=(1,), runs=tmp_path / "runs", out=tmp_path / "out", report_only=True)
    with pytest.raises(ValueError, match="There are no finished runs"):
        backbones(options)
    options.runs.mkdir()
    (options.runs / "dense-1.json").write_text(json.dumps(made("dense", 1, 1.0, 100.0)))
    page, plot = backbones(options)
    assert page.read_text().startswith("# Backbones on the game") and plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rows": ("x",)}, "There is no row 'x'; accepted are dense, bun,"),
        ({"seeds": ()}, "seeds is ''; at least one is needed"),
        ({"seeds": (1, 1)}, "seeds is '1 1'"),
        ({"jobs": 0}, "jobs is 0; it must be at least 1"),
    ],
)
def test_refusals_are_sentences(changes, told):
    with pytest.raises(ValueError, match=told):
        backbones(dataclasses.replace(Backbones(), **changes))
