"""The table of all claims: complete, and one with the pages and the kept runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import main
from reproduce.claims import trajectories
from reproduce.claims.catalogue import CANNOT, DOCUMENTS, EXACT, OPEN
from reproduce.claims.experiment import CURVE, NAMES, VARIANTS, find
from reproduce.claims.kept import read_rows
from reproduce.claims.page import figures, report, settle
from reproduce.claims.table import every_page
from reproduce.claims.table import report as table_report
from reproduce.verdicts import HOLDS, NOT_SHOWN, REFUTED

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
EXPERIMENTS = (*NAMES, *VARIANTS)
KEPT = sorted((RESULTS / "runs").glob("*.jsonl"))
ENTRIES = [entry for entries in DOCUMENTS.values() for entry in entries]


def texts(name: str) -> list[tuple[str, str]]:
    """Every claim of an experiment and what the paper says of it."""
    claims = trajectories.claims(1) if name == "magma" else find(name).claims
    return [(claim.text, claim.paper) for claim in claims]


def test_every_claim_is_tested_on_a_page_or_says_why_not():
    for entry in ENTRIES:
        assert bool(entry.tests) != bool(entry.instead), entry.claim
        assert not entry.instead or entry.instead in (EXACT, OPEN, CANNOT), entry.claim
        for name, begins in entry.tests:
            assert any(text.startswith(begins) for text, _ in texts(name)), (name, begins)
        if entry.instead == EXACT:
            named = [word.strip(".,") for word in entry.note.split() if word.startswith(("tests/", "test_"))]
            assert named and all(list(ROOT.glob(f"tests/**/{Path(word).name}")) for word in named), entry.note


def test_every_test_of_a_page_about_what_a_paper_says_is_in_the_table():
    for name in ("magma", *EXPERIMENTS):
        begins = [start for entry in ENTRIES for page, start in entry.tests if page == name]
        for text, paper in texts(name):
            assert paper == "not in the paper" or any(text.startswith(start) for start in begins), (name, text)


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_a_page_is_what_its_kept_runs_make_of_it(kept):
    experiment = find(kept.stem)
    rows = read_rows(Path("no such folder"), kept, list(experiment.rows), CURVE)
    assert sum(map(len, rows.values())) == len(kept.read_text().splitlines())
    captions = {name: caption for name, (caption, _) in figures(experiment, rows).items()}
    assert (RESULTS / f"{kept.stem}.md").read_text() == report(experiment, rows, captions)
    assert all((RESULTS / name).exists() for name in captions)


def test_the_published_table_is_what_the_kept_runs_make_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main.main(["reproduce", "claims", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "claims.md").read_text() == (RESULTS / "claims.md").read_text()


def test_pages_and_the_table_say_the_same_of_a_claim():
    pages = every_page(RESULTS)
    table = table_report(pages)
    for name, settled in pages.items():
        page = RESULTS / f"{name}.md"
        for claim, judged, verdict, _ in settled:
            lines = [line for line in table.splitlines() if f"| {claim.text} |" in line]
            assert all(f"| {verdict} | [{name}]" in line for line in lines) or judged is None, claim.text
            if name != "magma" and judged is not None:
                (line,) = (line for line in page.read_text().splitlines() if line.startswith(f"| {claim.text} |"))
                assert verdict in line


def curve(first: int, every: int = 4096) -> dict:
    """Games finish at this step, for the first time."""
    steps = list(range(0, 20 * every, every))
    return {"env_steps": steps, "finished": [float(step >= first) for step in steps], "ice": [0.0] * len(steps)}


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ((8192, 8192, 8192), (61440, 65536, 61440), HOLDS),
        ((16384, 16384, 20480), (20480, 20480, 20480), REFUTED),
        ((12288, 12288, 12288), (36864, 36864, 36864), NOT_SHOWN),  # 3 times at the evaluations, but where between them?
        ((12288, 12288, 12288), (24576, 24576, 24576), NOT_SHOWN),  # 24,576 may be three times a little over 8,192
    ],
)
def test_speed_is_judged_wherever_between_two_evaluations_it_was(one, other, verdict):
    rows = {name: [{"seed": i, "curve": curve(step)} for i, step in enumerate(steps)] for name, steps in (("one", one), ("other", other))}
    judge = trajectories.times_faster("one", "other", 0.95, 3.0)
    (entry,) = settle([trajectories.Claim("3 times", "", ("one", "other"), judge)], rows)
    assert entry.verdict == verdict, entry


def test_a_run_that_never_got_there_settles_nothing(tmp_path):
    rows = {"one": [{"seed": 1, "curve": curve(8192)}], "other": [{"seed": 1, "curve": curve(10**9)}]}
    (entry,) = settle([trajectories.Claim("3 times", "", ("one", "other"), trajectories.times_faster("one", "other", 0.95, 3.0))], rows)
    assert entry.verdict == NOT_SHOWN
    stored = {"paper": {"separate": {"curves": {"2": curve(8192)}}}}
    (tmp_path / "magma.json").write_text(json.dumps(stored))
    assert trajectories.read_rows(tmp_path / "magma.json")["paper_separate"][0]["seed"] == 2
