"""Help on a screen: the options that matter at their values, examples that can be typed, and how long things take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import tyro

from commands.reproduce import ABOUT
from commands.short_help import field_doc
from commands.train import EXAMPLES, TrainCommand
from main import main
from reproduce.magma import EXPERIMENTS
from training.config import PPOConfig, TrainConfig
from training.presets import PRESETS

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def options_in(text: str) -> list[str]:
    return re.findall(r"^  (--[a-z.-]+)", text, re.MULTILINE)


def test_the_twenty_options_that_matter_with_their_values(capsys):
    text = said(capsys, "train", "--preset", "full", "--help")
    options = options_in(text)
    assert len(options) == 20 == len(set(options))
    assert max(map(len, text.split("examples:")[0].splitlines())) <= 100
    assert f"--env-steps {PRESETS['full'].env_steps} " in text and f"--ppo.num-games {PRESETS['full'].ppo.num_games} " in text
    assert f"--env-steps {PRESETS['demo'].env_steps} " in said(capsys, "train", "-h")


def test_help_all_has_these_and_the_rest(capsys):
    few = options_in(said(capsys, "train", "--help"))
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help-all"])
    text = capsys.readouterr().out
    assert ended.value.code == 0 and all(f"{name} " in text or f"{name}," in text for name in few)
    assert len(set(re.findall(r"--[a-z][a-z.-]+", text))) > 150


def test_the_examples_are_commands():
    commands = [line.split("train ", 1)[1] for line in EXAMPLES.splitlines() if "{program}" in line]
    assert len(commands) > 5
    for command in commands:
        words = [word for word in shlex.split(command) if word not in ("features.py:thirst", "rewards.py:busy")]
        words = [word for word in words if word not in ("--policy.features", "--reward.terms")]
        preset = words[words.index("--preset") + 1] if "--preset" in words else "demo"
        parsed = tyro.cli(TrainCommand, args=words, default=TrainCommand(config=PRESETS[preset], preset=preset))
        assert parsed.config.map_size in (32, 48)


def test_a_field_has_the_words_below_it():
    assert field_doc(TrainConfig, "eval_maps") == "Unseen maps an evaluation during training plays."
    with pytest.raises(ValueError, match="PPOConfig.gae_lambda has no docstring"):
        field_doc(PPOConfig, "gae_lambda")


def test_reproduce_says_how_long_as_the_pages_do(capsys):
    text = said(capsys, "reproduce", "--help")
    assert set(ABOUT) == set(EXPERIMENTS) and all(re.search(rf"^  {name} +\w", text, re.MULTILINE) for name in EXPERIMENTS)
    for page in ("bun", "communication", "communication_iql", "adaps", "sparse", "mast"):
        (took,) = re.findall(r"All runs together took (\S+) of one core", (RESULTS / f"{page}.md").read_text())
        assert took in ABOUT[page.removesuffix("_iql")].takes, page
    assert ABOUT["magma"].takes.rpartition(";")[0].removeprefix("a run ") in (RESULTS / "magma.md").read_text()
    seconds = [int(line.split("|")[-2]) for line in (RESULTS / "backbones.md").read_text().splitlines() if re.match(r"\| .*\d \|$", line)]
    assert len(seconds) > 5 and f"{min(seconds)} to {max(seconds)} s" in ABOUT["backbones"].takes
