"""The agent that comes with the repository: it fits this version, is small, says where it comes from, and farms."""

from __future__ import annotations

from pathlib import Path

from agent.stored import SHIPPED, load_agent, resolve
from arena.evaluate import evaluate_checkpoint

LIMIT = 4 << 20  # bytes


def test_the_shipped_agent_fits_this_version_and_is_small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the word means the same everywhere
    assert resolve("shipped") == SHIPPED
    agent, config, stored = load_agent("shipped")
    assert sorted(file.name for file in SHIPPED.iterdir()) == ["config.json", "policy.safetensors"]
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < LIMIT
    assert agent.actions.water and config.map_size == 48
    assert len(stored.config["revision"]) >= 7 and stored.step > 0


def test_a_folder_of_that_name_is_meant_if_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("shipped").mkdir()
    Path("shipped", "config.json").touch()
    assert resolve("shipped") == Path("shipped")


def test_the_shipped_agent_survives_and_grows_lichen():
    scores = evaluate_checkpoint("shipped", maps=2)
    assert scores["finished"] == 1 and scores["lichen"] > 5000
