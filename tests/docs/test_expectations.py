"""The table of expectations: every row is answered, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import luxs2
from commands import VERBS
from main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "expectations.md"
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines() if line.startswith("|")]
ROWS = [row for row in ROWS if row[0] != "expectation" and not set(row[0]) <= {"-"}]
NAMED = "\n".join(re.findall(r"`([^`]+)`", PAGE.read_text()))


def test_every_row_is_answered():
    assert len(ROWS) > 40 and all(len(row) == 3 and row[1] in ("yes", "in part", "no") for row in ROWS)
    assert all(row[2] for row in ROWS if row[1] != "no")
    assert {row[1] for row in ROWS} == {"yes", "in part", "no"}


def test_commands_and_calls_exist(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help-all"])
    known = set(re.findall(r"--[a-z][\w.-]+", capsys.readouterr().out))
    commands = re.findall(r"^luxs2 (\w+)(.*)$", NAMED, re.MULTILINE)
    assert len(commands) > 20 and {verb for verb, _ in commands} <= set(VERBS)
    for verb, rest in commands:
        if verb == "train":
            assert set(re.findall(r"--[a-z][\w.-]+", rest)) <= known | {"--help-all"}, rest
    calls = set(re.findall(r"^luxs2\.(\w+)", NAMED, re.MULTILINE))
    assert len(calls) >= 5 and calls <= set(luxs2.__all__)


def test_files_that_are_named_are_there():
    root = PAGE.parents[1]
    links = re.findall(r"\]\(([\w/.]+\.md)\)", PAGE.read_text())
    files = re.findall(r"^((?:training|reproduce|tests)/[\w/.]+)$", NAMED, re.MULTILINE)
    assert len(links) > 5 and all((PAGE.parent / link).is_file() for link in links)
    assert len(files) >= 3 and all((root / file).exists() for file in files)
