"""The search of the farm's dials: it goes on where it stopped, and its measures tell better from worse."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from agent.tasks.dials import Dials, changed
from arena.farm_games import play, shares
from engine.config import GameConfig
from reproduce.dials import RANGES, Search, dials, from_unit, search, to_unit


def small(folder: Path, generations: int) -> Search:
    return Search(generations=generations, population=3, games=1, map_size=24, held_out_games=2, opponents=("idle",), runs=folder)


def test_a_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    at_once = search(small(tmp_path / "a", 2))
    search(small(tmp_path / "b", 1))
    assert search(small(tmp_path / "b", 2)) == at_once
    with pytest.raises(ValueError, match="other settings"):
        search(dataclasses.replace(small(tmp_path / "b", 3), seed=2))
    lines = [json.loads(line) for line in (tmp_path / "b" / "search.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all(np.isfinite(line["scores"]).all() for line in lines)
    (page,) = dials(small(tmp_path / "a", 2))
    assert "Found against the rule as it is" in page.read_text()


def test_dials_inside_their_ranges_survive_the_way_there_and_back() -> None:
    middle = changed(Dials(), {name: (low + high) / 2 for name, (low, high) in RANGES.items()})
    again = from_unit(to_unit(middle))
    for name, (low, high) in RANGES.items():
        assert abs(getattr(again, name) - getattr(middle, name)) <= max(1e-9, isinstance(getattr(middle, name), int)) and low <= high


def test_equals_share_alike_and_who_builds_nothing_grows_less() -> None:
    config = GameConfig.for_map_size(24)
    assert shares(config, 2, 1, Dials(), Dials()).tolist() == [0.5, 0.5]
    poor = changed(Dials(), {"last_build": 1000})
    assert play(config, 2, 1, poor, None).lichen[:, 0].sum() < play(config, 2, 1, Dials(), None).lichen[:, 0].sum()
