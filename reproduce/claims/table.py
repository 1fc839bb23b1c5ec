"""One table of all claims of the five documents, with the verdicts of the pages: `python main.py reproduce claims`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.policy import Policy, PolicyConfig, policy_sizes
from reproduce.claims import trajectories
from reproduce.claims.catalogue import DOCUMENTS, Entry
from reproduce.claims.experiment import CURVE, NAMES, VARIANTS, find
from reproduce.claims.kept import read_rows
from reproduce.claims.page import Settled, chance, effect, settle
from submission.files import write_whole
from training.presets import PRESETS

COMMANDS = {"communication_iql": "communication --algo iql"}


@dataclass(frozen=True)
class Table:
    """The options of `main.py reproduce claims`."""

    results: Path = Path("docs/results")
    """Folder of the published results: runs in `runs`, a line each, and magma.json."""
    out: Path = Path("runs/reproduce/claims")
    """Folder of claims.md (`--out docs/results` publishes it)."""


def claims_table(options: Table) -> list[Path]:
    """Write claims.md from the published runs; returns its path."""
    path = options.out / "claims.md"
    write_whole(path, report(every_page(options.results)))
    return [path]


def every_page(results: Path) -> dict[str, list[Settled]]:
    """The claims of each experiment whose runs are kept, with their verdicts as on its page."""
    pages = {}
    for name in (*NAMES, *VARIANTS):
        kept = results / "runs" / f"{name}.jsonl"
        if kept.exists():
            experiment = find(name)
            pages[name] = settle(experiment.claims, read_rows(kept.parent / name, kept, list(experiment.rows), CURVE))
    if (results / "magma.json").exists():
        policy = Policy(PolicyConfig(), policy_sizes(PRESETS["demo"].actions))
        claims = trajectories.claims(sum(p.numel() for p in policy.parameters()))
        pages["magma"] = settle(claims, trajectories.read_rows(results / "magma.json"))
    return pages


def report(pages: dict[str, list[Settled]]) -> str:
    """claims.md as markdown."""
    parts = [
        "# Every claim of the source documents",
        "Written by `python main.py reproduce claims` from the runs kept in [runs](runs) and in [magma.json](magma.json). A claim may have "
        "several tests; each has the verdict of its page, where it is corrected for all tests of that page (see there for what *holds*, "
        "*refuted* and *not shown* mean, and how small an effect would have shown). Where no runs are kept, the page was made by older "
        "code, without intervals, and says nothing here; the command that is named makes its runs and the page anew.",
    ]
    for document, entries in DOCUMENTS.items():
        lines = ["| claim | in the document | test | ours; effect, 95 % interval | p | verdict | page |", "|---|---|---|---|---:|---|---|"]
        lines += [line for entry in entries for line in lines_of(entry, pages)]
        parts += [f"## {document}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def lines_of(entry: Entry, pages: dict[str, list[Settled]]) -> list[str]:
    """A line each test of the claim, one each page that is to be made, and one for what is said besides."""
    lines = []
    missing: list[str] = []
    for page, begins in entry.tests:
        if page not in pages:
            missing += [page] if page not in missing else []
            continue
        for claim, judged, verdict, p in pages[page]:
            if not claim.text.startswith(begins):
                continue
            if judged is None:
                lines.append(f"| {claim.text} | not run | | | [{page}]({page}.md) |")
                continue
            ours = "; ".join(part for part in (judged.ours, effect(judged)) if part)
            lines.append(f"| {claim.text} | {ours} | {chance(p)} | {verdict} | [{page}]({page}.md) |")
    lines += [
        f"| | no runs are kept; `python main.py reproduce {COMMANDS.get(page, page)}` | | not run | [{page}]({page}.md) (older code) |"
        for page in missing
    ]
    if entry.note or entry.instead:
        lines.append(f"| {entry.note} | | | {entry.instead} | |")
    first, *rest = lines
    return [f"| {entry.claim} | {entry.where} {first}", *(f"| | {line}" for line in rest)]
