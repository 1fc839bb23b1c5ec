"""Learning on tasks: trajectories of single entities, their advantages, and that what was learned is what plays."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.tasks import heads
from agent.tasks.candidates import BUILDING, HEAVY, LIGHT, PLAN, STATE, WATERING
from agent.tasks.dials import Dials
from agent.tasks.heads import load_heads, save_heads
from agent.tasks.memory import empty_memory, empty_turn
from agent.tasks.play import play_all
from agent.tasks.side import FarmSide
from arena.farm_games import opened
from engine.config import GameConfig
from main import main
from training.run.metrics import read_metrics
from training.run.stopping import Stopped
from training.tasks.games import LAST, ROWS_DTYPE, advantages
from training.tasks.learner import Options, learn, load
from training.tasks.net import TaskNet
from training.tasks.rollout import SCALE, Rollout, choose, play_games, seen, started

CONFIG = GameConfig.for_map_size(48)
SEEDS = range(7_000_000, 7_000_002)
KINDS = (LIGHT, HEAVY, WATERING, BUILDING)


def random_nets(seed: int) -> dict[int, TaskNet]:
    """Nets that often choose otherwise than the rule."""
    torch.manual_seed(seed)
    nets = {kind: TaskNet(16, rule=3.0) for kind in KINDS}
    for net in nets.values():
        torch.nn.init.normal_(net.score.weight, std=12.0)
    return nets


@pytest.fixture(scope="module")
def games() -> Rollout:
    nets = random_nets(0)
    return play_games(CONFIG, started(CONFIG, SEEDS), (nets, nets), torch.Generator().manual_seed(0))


def test_untrained_nets_play_the_rule() -> None:
    nets = {kind: TaskNet() for kind in KINDS}
    played = play_games(CONFIG, started(CONFIG, SEEDS), (nets, nets), None)
    engine, static = opened(CONFIG, SEEDS)
    memory, turn = empty_memory(len(SEEDS)), empty_turn()
    for _ in range(CONFIG.max_episode_length):
        play_all(engine.games, engine.rules, Dials(), static, memory, turn, np.full(len(SEEDS), 2, np.int8), engine.orders)
        engine.step()
    assert (played.rows["choice"] == 0).all() and len(played.rows) > 1000
    assert played.lichen.tolist() == engine.games["lichen_total"].tolist()


def test_the_agent_plays_what_was_learned(tmp_path: Path) -> None:
    nets = random_nets(1)
    played = play_games(CONFIG, started(CONFIG, SEEDS[:1]), (nets, {}), None)
    (tmp_path / "heads.npz").write_bytes(save_heads({kind: net.head() for kind, net in nets.items()}))
    sides = FarmSide(heads=load_heads(tmp_path / "heads.npz")), FarmSide()
    engine, _ = opened(CONFIG, SEEDS[:1])
    for _ in range(CONFIG.max_episode_length):
        for player, side in enumerate(sides):
            side.write_orders(engine.games[0], engine.rules, player, engine.orders[0])
        engine.step()
    assert (played.rows["choice"] > 0).mean() > 0.05
    assert played.lichen.tolist() == engine.games["lichen_total"].tolist()


def test_each_entity_has_a_trajectory_of_its_own(games: Rollout) -> None:
    rows: Any = games.rows
    followed = np.flatnonzero(rows["next"] >= 0)
    after = rows["next"][followed]
    assert (after > followed).all() and len(set(after.tolist())) == len(after)
    for name in ("game", "side", "kind", "robot", "ident", "home"):
        assert (rows[name][followed] == rows[name][after]).all()
    heads = np.setdiff1d(np.arange(len(rows)), after)
    owners = [tuple(row) for row in rows[heads][["game", "side", "kind", "robot", "ident", "home"]].tolist()]
    again = len(owners) - len(set(owners))  # only those that came back to a factory that they had left
    assert again < len(owners) / 50
    ended = rows[rows["next"] < LAST]
    assert (np.sort(-2 - ended["next"]) == np.arange(len(games.ghosts))).all() and len(ended) > 10
    ghosts = games.ghosts[-2 - ended["next"]]
    assert (ghosts["home"] == ended["home"]).all() and (ghosts["game"] == ended["game"]).all() and (ended["kind"] < WATERING).all()


def test_what_is_paid_is_the_share_of_the_side(games: Rollout) -> None:
    share = games.lichen / games.lichen.sum(1, keepdims=True)
    for row in games.rows:
        game, side = row["game"], row["side"]
        assert games.outcome[game, row["home"]] == pytest.approx(2 * share[game, side] - 1, abs=1e-6)


def test_ratios_are_one_before_the_first_step(games: Rollout) -> None:
    nets = random_nets(0)
    for kind, net in nets.items():
        own = np.flatnonzero(games.rows["kind"] == kind)
        choice = torch.from_numpy(games.rows["choice"][own].astype(np.int64))
        state, candidates, mask, columns = seen(games.rows[own])
        again = net(state, candidates, mask).gather(1, torch.searchsorted(columns, choice)[:, None])[:, 0]
        assert len(own) > 100 and torch.allclose(again, games.log_prob[own], atol=1e-4)
        assert games.rows["mask"][own][np.arange(len(own)), choice].all()


def test_advantages_by_hand() -> None:
    # robot A: rows 0, 2, 4, alive at the end; robot B: rows 1, 3, then dead, with ghost 0 in its place
    after = np.array([2, 3, 4, -2, LAST])
    values, ghosts = np.array([1.0, 2.0, 1.5, 2.5, 3.0]), np.array([0.5])
    returns, result = np.full(5, 4.0), np.zeros(5)
    advantages(after, values, ghosts, returns, 0.5, result)
    last, middle = 4.0 - 3.0, 3.0 - 1.5
    assert result[4] == last and result[2] == middle + 0.5 * last and result[0] == 0.5 + 0.5 * result[2]
    assert result[3] == 0.5 - 2.5 and result[1] == 0.5 + 0.5 * result[3]
    advantages(after, values, ghosts, returns, 1.0, result)
    assert np.allclose(result[[0, 2, 4]], 4.0 - values[[0, 2, 4]])  # what was paid less what was expected


def test_learning_changes_what_it_says_and_keeps_it(tmp_path: Path) -> None:
    options = Options(kinds=("heavies",), iterations=2, games=2, critic_first=1, evaluate_every=2, evaluate_games=2)
    first, second = learn(options, tmp_path / "a"), learn(options, tmp_path / "b")
    assert list(first) == [HEAVY] and first[HEAVY].score.weight.abs().max() > 0
    kept = load(tmp_path / "a")
    for name, weights in first[HEAVY].state_dict().items():
        assert (tmp_path / "a" / "heads.tasks.npz").read_bytes() == (tmp_path / "b" / "heads.tasks.npz").read_bytes()
        assert torch.equal(weights, second[HEAVY].state_dict()[name]) and torch.equal(weights, kept[HEAVY].state_dict()[name])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--kinds", "heavies", "heavies"], "each once"),
        (["--bare"], "give --kinds lights heavies watering building"),
        (["--games", "0"], "games is 0; accepted are 1"),
        (["--evaluate-games", "1"], "evaluate_games is 1; accepted are 2"),
        (["--map-size", "7"], "map"),
        (["--bare", "--kinds", "lights", "heavies", "watering", "building", "--since", "700"], "give one of the two"),
        (["--start", "nowhere"], "nowhere/heads.pt does not exist"),
        (["--run-dir", "taken"], "is in the way"),
    ],
)
def test_wrong_options_are_sentences(argv: list[str], words: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("mine")
    assert main(["tasks", *argv]) == 2
    assert words in capsys.readouterr().err


def test_from_scratch_nobody_follows_a_rule() -> None:
    nets = random_nets(2)
    bare = play_games(CONFIG, started(CONFIG, SEEDS[:1]), (nets, nets), torch.Generator().manual_seed(0), (True, False))
    side = bare.rows["side"]
    assert (bare.rows["choice"][side == 0] > 0).all() and (bare.rows["choice"][side == 1] == 0).any()
    grown = play_games(CONFIG, started(CONFIG, SEEDS[:1]), (nets, nets), torch.Generator().manual_seed(0), (True, False), share=False)
    assert grown.outcome.sum() * SCALE == pytest.approx(grown.lichen.sum(), abs=1) and (bare.lichen == grown.lichen).all()


def test_some_games_are_played_against_the_rule() -> None:
    nets = random_nets(2)
    rows = play_games(CONFIG, started(CONFIG, SEEDS), (nets, nets), None, by_rule=2).rows
    assert {(int(game), int(side)) for game, side in zip(rows["game"], rows["side"])} == {(0, 1), (1, 0)}


def test_before_their_turn_heads_follow_the_rule() -> None:
    nets = random_nets(2)
    for net in nets.values():
        net.since.fill_(600)
    whole = play_games(CONFIG, started(CONFIG, SEEDS), (nets, nets), torch.Generator().manual_seed(0))
    assert np.round(1000 * whole.rows["state"][:, STATE.turn]).min() >= 600
    kept = started(CONFIG, SEEDS, 600)
    before = kept.games["real_step"].tolist()
    for _ in range(2):  # what is kept is not played on itself
        late = play_games(CONFIG, kept, (nets, nets), torch.Generator().manual_seed(0))
        assert (late.rows == whole.rows).all() and (late.lichen == whole.lichen).all() and late.turns <= 2 * 400
    assert before == kept.games["real_step"].tolist() == [600, 600]


def test_games_that_are_over_are_not_kept() -> None:
    short = GameConfig.for_map_size(48, max_episode_length=20)
    assert len(started(short, SEEDS, 10).games) == len(SEEDS) and len(started(short, SEEDS, 20).games) == 0


def test_choices_are_samples_at_the_temperature() -> None:
    net, rows = random_nets(3)[HEAVY], np.zeros(4000, ROWS_DTYPE).view(np.recarray)
    rows["kind"] = HEAVY
    rows["mask"][:, :3] = 1
    rows["candidates"][:, 1, 1] = rows["candidates"][:, 2, 2] = 1
    state, candidates, mask, _ = seen(rows[:1])
    scores = net(state, candidates, mask)[0].double().detach()
    head = net.head(temperature=0.5)
    for temperature, expected in ((1.0, scores.softmax(0)), (0.5, (2 * scores).softmax(0))):
        log_prob = torch.zeros(len(rows))
        choose(rows, log_prob, ({HEAVY: net}, {}), torch.Generator().manual_seed(1), temperature)
        share = np.bincount(rows["choice"], minlength=3) / len(rows)
        assert share == pytest.approx(expected.tolist(), abs=0.03)
        assert log_prob[0] == pytest.approx(float(scores[rows["choice"][0]]), abs=1e-5)  # of the policy that learns
    played = heads.choose(head, rows["state"], rows["candidates"], rows["mask"].astype(bool), np.random.default_rng(1))
    assert np.bincount(played, minlength=3) / len(rows) == pytest.approx((2 * scores).softmax(0).tolist(), abs=0.03)


def test_a_factory_decides_anew_once_it_has_built_or_waited() -> None:
    net = TaskNet(16)
    with torch.no_grad():  # a heavy next, whatever else
        for weights in (net.of_candidate.weight, net.of_state.weight, net.of_state.bias, net.hidden.bias):
            weights.zero_()
        net.of_candidate.weight[0, 3], net.hidden.weight[0, 0], net.score.weight[0, 0] = 1.0, 1.0, 100.0
        net.hidden.weight[1:, 0] = 0.0
    rows = play_games(CONFIG, started(CONFIG, SEEDS[:1]), ({BUILDING: net}, {}), None).rows
    assert (rows["choice"][rows["state"][:, STATE.left] > 0.3] == 3).all()
    turn = np.round(1000 * rows["state"][:, STATE.turn]).astype(int)
    for robot in set(rows["robot"].tolist()):
        waits = np.diff(turn[rows["robot"] == robot])
        assert waits.max() == PLAN and waits.min() >= 1 and (waits < PLAN).any()


def test_asked_to_stop_it_keeps_what_it_has(tmp_path: Path, monkeypatch: Any) -> None:
    import training.tasks.learner as learner

    monkeypatch.setattr(learner, "get_ready", lambda options: None)  # it plays, too
    monkeypatch.setattr(learner, "play_games", lambda *args: (os.kill(os.getpid(), signal.SIGINT), play_games(*args))[1])
    with pytest.raises(Stopped, match="after iteration 1; the heads are in"):
        learn(Options(iterations=5, games=1, critic_first=0), tmp_path / "run")
    assert load(tmp_path / "run")[HEAVY].score.weight.abs().max() > 0
    assert len(list(read_metrics(tmp_path / "run"))) == 1
