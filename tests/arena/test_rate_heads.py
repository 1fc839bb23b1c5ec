"""Learned heads as players of a rating."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agent.tasks.candidates import HEAVY
from agent.tasks.heads import save_heads
from arena.rating.entrants import Field
from arena.rating.results import Results
from arena.rating.tournament import Rules, run
from training.tasks.net import TaskNet


def test_the_identity_of_learned_heads_follows_their_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"{name}.tasks.npz" for name in "abc"]
    for file, seed in zip(files, (1, 2, 1)):
        torch.manual_seed(seed)
        file.write_bytes(save_heads({HEAVY: TaskNet(8).head()}))
    with Field([str(files[0]), str(files[1]), "warden"]) as field:
        assert len({entrant.ident for entrant in field.entrants}) == 3 and all(entrant.in_process for entrant in field.entrants)
    with pytest.raises(ValueError, match="are the same player"):
        Field([str(files[0]), str(files[2])])
    with Field(["marshal"]) as field:
        (marshal,) = field.entrants
    monkeypatch.setattr("arena.rating.entrants.files_under", lambda folder, paths: [("heads", b"others")])
    with Field(["marshal"]) as field:
        assert field.entrants[0].ident != marshal.ident


def test_heads_play_by_the_fast_referee(tmp_path: Path) -> None:
    file = tmp_path / "mine.tasks.npz"
    file.write_bytes(save_heads({HEAVY: TaskNet(8).head()}))
    rules = Rules(2, 48, 0, None, 1)
    with Field([str(file), "idle"]) as field, Results(tmp_path / "results.jsonl", write=True) as results:
        assert run(field, 0, rules, results).played == 2
    assert [game.referee for game in results.games] == ["fast", "fast"]
