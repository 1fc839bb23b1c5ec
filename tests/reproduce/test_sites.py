"""What the place of a factory is worth: the features, the fit, and the opening that places by it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import lichen_opening as rule
from agent.opening import corner_sums, ground_worth, square_sum
from engine.config import SIZE, GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from engine.state import board
from reproduce import sites
from reproduce.sites import COLUMNS, FEATURES, Explorer, Opening, fit, opening, ridge, team_features
from submission.files import write_whole


def opened(seed: int, factories: int | None = None, size: int = 48) -> tuple[Any, Any]:
    """A game on this map and its rules, after so many placements (all of them by default)."""
    config = GameConfig.for_map_size(size)
    engine = Engine(config, 1)
    engine.reset(0, MapPool(config, [seed]), 0)
    game, orders = engine.games[0], engine.orders[0]
    while game["real_step"] < 0 and (factories is None or game["factory_count"] < factories):
        for player in range(2):
            rule.lichen_opening(game, engine.rules, player, orders)
        engine.step()
    return game, engine.rules


def steps(centre: int, cells: np.ndarray) -> np.ndarray:
    """Steps from cells [n, 2] to the footprint of a factory, by definition."""
    return np.maximum(np.abs(cells - divmod(centre, SIZE)) - 1, 0).sum(1)


def by_definition(game: Any) -> np.ndarray:
    """`team_features` of a 48x48 game, read off its boards."""
    games = np.array([game], game.dtype)
    ice, ore, rubble = (board(games, name, 48)[0] for name in ("ice", "ore", "rubble"))
    centres = [int(cell) for cell in game["factory_cell"][: game["factory_count"]]]
    apart = np.array([steps(centre, np.argwhere(ice)) for centre in centres])
    features = np.zeros((2, len(FEATURES)))
    for f, centre in enumerate(centres):
        mine = np.sort(apart[f][apart[f] == apart.min(0)])
        nearest = np.minimum(np.append(mine, [99, 99, 99])[:3], 12)
        x, y = divmod(centre, SIZE)
        flat = 0.0
        for at in np.argwhere((ice == 0) & (ore == 0)):
            if np.abs(at - (x, y)).max() <= 5 and all(np.abs(at - divmod(other, SIZE)).max() > 1 for other in centres):
                worth = round(100 * np.exp(-min(int(rubble[tuple(at)]), 100) / 30))
                near = any(np.abs(at - divmod(other, SIZE)).max() <= 8 for other in centres if other != centre)
                flat += (worth // 10 if near else worth) / 100
        features[game["factory_owner"][f]] += (*nearest, min(steps(centre, np.argwhere(ore)).min(), 25), flat)
    return features


@pytest.mark.parametrize("seed", [1, 3])
def test_features_are_those_of_their_definition(seed: int) -> None:
    game, rules = opened(seed)
    assert game["factory_count"] >= 6
    before = game.copy()
    np.testing.assert_allclose(team_features(game, rules), by_definition(game))
    assert all(np.array_equal(game[name], before[name]) for name in game.dtype.names or ()), "the game is only read"


def worth(features: np.ndarray, player: int) -> np.ndarray:
    """What `agent.lichen_opening` thinks of team features: the side's less the enemy's, in its units, a term each."""
    return np.array(sites.IN_USE) * (features[player] - features[1 - player])


@pytest.mark.parametrize("player", [0, 1])
@pytest.mark.parametrize("placed", [0, 3, 6])
def test_the_score_of_a_place_is_what_a_factory_there_changes(placed: int, player: int) -> None:
    """Ice of all factories and its own ore are counted exactly; its own ground is what it is before its footprint is taken."""
    game, rules = opened(3, placed)
    scores = rule.site_scores(game, rules, player, 3)
    allowed = np.flatnonzero(scores > rule.NOWHERE)
    assert len(allowed) > 50
    before = worth(team_features(game, rules), player)
    ground = corner_sums(ground_worth(game, 48), 48)
    for cell in np.random.default_rng(0).choice(allowed, 20, replace=False):
        more = game.copy()
        more["factory_cell"][placed], more["factory_owner"][placed], more["factory_count"] = cell, player, placed + 1
        change = (worth(team_features(more, rules), player) - before)[:4].sum()
        assert scores[cell] == change + square_sum(ground, *divmod(int(cell), SIZE), rule.GROUND_REACH, 48)


def test_of_equal_places_the_one_that_takes_ice_from_the_enemy_is_better() -> None:
    """Two places with the same ice in reach; at one of them an enemy digs, at the other a friend."""
    game, rules = opened(0, 0)
    for name in ("ice", "ore", "rubble"):
        game[name][:] = 0
    for x, y in ((10, 10), (10, 14), (36, 10), (36, 14)):
        game["ice"][x * SIZE + y] = 1
    game["factory_count"], game["factory_owner"][:2] = 2, (0, 1)
    game["factory_cell"][:2] = (5 * SIZE + 12, 31 * SIZE + 12)  # five steps from both tiles on their side
    beside_friend, beside_enemy = 12 * SIZE + 12, 38 * SIZE + 12
    game["spawnable"][[beside_friend, beside_enemy]] = 1
    scores = rule.site_scores(game, rules, 0, 20)
    assert scores[beside_enemy] > scores[beside_friend] > rule.NOWHERE
    assert rule.site_scores(game, rules, 1, 20)[beside_friend] == scores[beside_enemy]


def games(count: int, weights: np.ndarray, noise: float) -> dict[str, list[Any]]:
    """Stored games whose shares of lichen are linear in the features of both sides, and noise."""
    rng = np.random.default_rng(0)
    own, enemy = rng.uniform(0, 12, (2, count, len(FEATURES)))
    opponent = rng.choice(["raider", "farmer"], count)
    share = np.clip(0.5 + (own - enemy) @ weights + 0.05 * (opponent == "raider") + noise * rng.standard_normal(count), 0, 1)
    columns: dict[str, Any] = {"seed": np.arange(count), "opponent": opponent, "player": np.zeros(count, int)}
    columns.update(lichen=10_000 * share, lichen_enemy=10_000 * (1 - share))
    for k, name in enumerate(FEATURES):
        columns.update({f"own_{name}": own[:, k], f"enemy_{name}": enemy[:, k]})
    return {name: columns[name].tolist() for name in COLUMNS}


def test_the_fit_finds_the_weights_that_made_the_games() -> None:
    weights = np.array([-0.008, -0.006, -0.002, -0.001, 0.004])
    found = fit(games(2000, weights, noise=0.02))
    np.testing.assert_allclose(found.weights, weights, rtol=0.05, atol=2e-4)
    assert found.explained > 0.85 and (np.abs(found.weights - weights) < 5 * found.errors + 1e-4).all()
    nothing = fit(games(2000, 0 * weights, noise=0.2))
    assert abs(nothing.explained) < 0.1 and (np.abs(nothing.weights) < 5 * nothing.errors).all()


def test_ridge_is_the_minimum_of_its_loss() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((60, 3)) * (1, 10, 0.1), rng.standard_normal(60)
    weights, mean, level = ridge(x, y)
    np.testing.assert_allclose(mean, x.mean(0))
    assert level == pytest.approx(y.mean())
    spread = x.std(0)

    def loss(w: np.ndarray) -> float:
        return float((((x - mean) @ w + level - y) ** 2).sum() + sites.PENALTY * ((w * spread) ** 2).sum())

    for k in range(3):
        for sign in (-1, 1):
            assert loss(weights + sign * 0.01 * np.eye(3)[k] / spread[k]) > loss(weights)


def explored(seed: int, map_seed: int) -> list[int]:
    config = GameConfig.for_map_size(48)
    engine, explore = Engine(config, 1), Explorer(seed)
    engine.reset(0, MapPool(config, [map_seed]), 0)
    game, orders = engine.games[0], engine.orders[0]
    while game["real_step"] < 0:
        for player in range(2):
            explore(game, engine.rules, player, orders)
        before = int(game["factory_count"])
        engine.step()
        assert game["env_steps"] == 1 or game["factory_count"] == before + 1, "a legal cell"
    return game["factory_cell"][: game["factory_count"]].tolist()


def test_explored_openings_differ_and_can_be_had_again() -> None:
    assert explored(1, 3) == explored(1, 3)
    different = {tuple(explored(seed, 3)) for seed in range(6)}
    assert len(different) == 6


def test_games_are_played_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Opening(against=("idle",), games=20, batch=10, map_size=24, runs=tmp_path / "runs", out=tmp_path)
    with pytest.raises(ValueError, match="There are no games"):
        opening(dataclasses.replace(options, report_only=True))
    for to_make in (2, 0):
        with pytest.raises(ValueError, match="share of lichen is 100% in all games"):  # idle has none
            opening(options)
        assert f"{2 - to_make} stored, {to_make} to make" in capsys.readouterr().out
    with pytest.raises(ValueError, match="other settings .map_size"):
        opening(dataclasses.replace(options, map_size=32))
    stored = json.loads((tmp_path / "runs/games-000.json").read_text())["curve"]
    assert stored["seed"] == list(range(sites.FIRST_SEED, sites.FIRST_SEED + 10)) and sorted(set(stored["player"])) == [0, 1]
    assert min(stored["lichen"]) > 0 and min(stored["own_ice_1"]) >= 1


def test_the_page_tells_what_was_found(tmp_path: Path) -> None:
    options = Opening(runs=tmp_path / "runs", out=tmp_path, report_only=True)
    weights = np.array([-0.008, -0.006, -0.002, -0.001, 0.004])
    run = {
        "settings": {"player": "me", "against": ["raider", "farmer"], "map_size": 48},
        "revision": "r",
        "curve": games(400, weights, 0.02),
    }
    write_whole(options.runs / "games-000.json", json.dumps(run))
    assert opening(options) == [tmp_path / "opening.md"]
    page = (tmp_path / "opening.md").read_text()
    assert "--games 400 --player me --against raider farmer --map-size 48" in page and page.count("\n| a ") == 1 + len(FEATURES)
    told = [float(line.split(" | ")[1].split()[0]) for line in page.splitlines() if line.startswith(("| a step", "| a flat"))]
    np.testing.assert_allclose(told, 1000 * weights, rtol=0.1, atol=0.5)
    write_whole(options.runs / "games-001.json", json.dumps({**run, "settings": {**run["settings"], "map_size": 32}}))
    with pytest.raises(ValueError, match="different settings"):
        opening(options)
    write_whole(options.runs / "games-001.json", json.dumps({**run, "curve": {k: v[:10] for k, v in run["curve"].items()}}))
    (options.runs / "games-000.json").unlink()
    with pytest.raises(ValueError, match="There are 10 games; the fit needs at least 20"):
        opening(options)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"against": ("nobody",)}, "no opponent 'nobody'; accepted are"),
        ({"against": ()}, "at least one is needed"),
        ({"games": 3, "batch": 5}, "games of at least a batch"),
        ({"jobs": 0}, "must be at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        opening(dataclasses.replace(Opening(runs=tmp_path), **change))
