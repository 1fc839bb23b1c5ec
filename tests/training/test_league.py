"""The league: who is drawn, what is learned from, who enters, and that a resumed league is the uninterrupted one."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from training.config import LeagueConfig, PPOConfig, TrainConfig
from training.league.league import League, Member, Played
from training.league.seats import score
from training.ppo.learner import PPOLearner
from training.presets import PRESETS
from training.run import checkpoint
from training.run.metrics import read_metrics
from training.train import run_to_resume, train
from training.trajectories.advantages import targets
from training.trajectories.rollout import Rollout
from wrappers.action import ActionConfig
from wrappers.vec_env import GameResult

torch.set_num_threads(1)

SMALL = TrainConfig(
    env_steps=384,
    train_maps=4,
    eval_every=10**9,
    eval_maps=1,
    checkpoint_every=64,
    max_turns=20,
    stagger=False,
    device="cpu",
    ppo=PPOConfig(num_games=4, rollout_steps=8, epochs=2, minibatches=2, anneal_learning_rate=False),
    league=LeagueConfig(share=0.75, scripted=("miner", "farmer"), max_steps=96, pool=8, match_games=2),
)


def league_of(**options: Any) -> League:
    trainer = PPOLearner(dataclasses.replace(SMALL, league=LeagueConfig(share=0.5, **options)))
    assert trainer.league is not None
    return trainer.league


def played(league: League, trainer_policy: Any, scores: list[float], uid: int, step: int = 0) -> None:
    league.learn_of([Played(uid, value) for value in scores], set(), step, trainer_policy)


def same(a: Any, b: Any) -> bool:
    """Equality of nests of plain values, arrays and tensors, bit for bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, np.random.Generator):
        return a.bit_generator.state == b.bit_generator.state
    return a == b


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The parts of two trainers' states that differ; the best score follows how often a run was evaluated."""
    return [name for name in {*first, *second} - {"best_score"} if not same(first.get(name), second.get(name))]


def test_only_the_policys_own_sides_are_learned_from_and_as_if_both_sides_were():
    """The opponents' rows are in no column; advantages of the others equal those of a rollout that has both sides."""
    trainer = PPOLearner(SMALL)
    env, policy, seats = trainer.env, trainer.policy, trainer.seats
    both = Rollout(SMALL.ppo.rollout_steps, env.num_games, policy.sizes, trainer.device, policy.fields)
    step, learned = env.step, []

    def add(acted: bool) -> None:
        learning = np.ones(env.obs.sides, bool)
        seated = np.flatnonzero(seats.opponent >= 0)
        learning[2 * seated + seats.player[seated]] = False
        learned.append(learning[env.obs.side])
        batch = policy.batch(env.obs)
        rows = env.obs.rows
        action, log_prob = (torch.zeros(rows, 4, dtype=torch.int64), torch.zeros(rows)) if acted else (None, None)
        both.add(env.obs, batch, policy(batch).value, action, log_prob)

    def recorded(action: np.ndarray, override: Any = None) -> Any:
        add(True)
        result = step(action, override)
        both.outcome(result.reward, result.done, result.truncated)
        if result.truncated.any():
            both.cut(env.obs, policy(policy.batch(env.obs)).value)
        return result

    env.step = recorded
    with torch.no_grad():
        for _ in range(4):  # the third reaches turn 20, where games end and opponents change
            both.begin()
            learned.clear()
            trainer.collect()
            add(False)
            both.finish()
            kept = np.concatenate(learned)
            rows = both.rows()
            assert 0.5 < kept.mean() < 0.75  # 3 of 4 games give away one of two sides
            own = trainer.rollout.rows()
            for name in ("step", "side", "slot", "ident"):
                assert np.array_equal(getattr(own, name), getattr(rows, name)[kept])
            taught = trainer.targets()
            whole = targets(
                rows,
                both.reward[: both.count],
                both.value,
                both.cut_value[: both.count],
                both.new_game,
                both.done,
                both.truncated,
                SMALL.grouping,
                SMALL.switches,
                SMALL.map_size,
                SMALL.ppo.gamma,
                SMALL.ppo.gae_lambda,
            )
            for name in ("reward", "value", "advantage", "returns"):
                assert getattr(taught, name) == pytest.approx(getattr(whole, name)[kept], abs=1e-5), name
            assert (taught.advantage != 0).any()


def test_what_the_policy_is_given_back_is_played_and_opponents_act_from_their_own_weights():
    config = dataclasses.replace(SMALL, league=LeagueConfig(share=1.0))
    trainer = PPOLearner(config)
    env, seats, league = trainer.env, trainer.seats, trainer.league
    assert league is not None
    rows = np.flatnonzero(np.isin(env.obs.side % 2, seats.player) & (seats.player[env.obs.side // 2] == env.obs.side % 2))
    seen = seats.learners(env.obs)
    assert seen.rows + len(rows) == env.obs.rows
    action = np.tile(np.array([7, 3, 2, 1]), (seen.rows, 1))
    chosen = seats.decide(action)
    assert (chosen[seats.kept] == action).all()
    wait_only = {name: tensor * 0 for name, tensor in trainer.policy.state_dict().items()}
    bias = [name for name in wait_only if name.startswith("heads") and name.endswith("bias")]
    wait_only[bias[0]][0] = 50.0  # the first logit of the heads: WAIT
    league.members[0].weights = wait_only
    league._agents.clear()
    for _ in range(20):
        assert (seats.decide(action)[rows, 0] == 0).all()


def test_prioritised_draws_follow_the_formula_and_the_sides_alternate():
    trainer = PPOLearner(dataclasses.replace(SMALL, ppo=PPOConfig(num_games=2), league=LeagueConfig(share=1.0, scripted=("idle", "miner"))))
    league, seats = trainer.league, trainer.seats
    assert league is not None
    idle, miner, first = league.active()
    idle.wins, idle.games, miner.wins, miner.games = 8.0, 8.0, 0.0, 2.0  # estimates 9/10, 1/4, and 1/2 without games
    expected = np.array([0.1**2, 0.75**2, 0.5**2]) / (0.1**2 + 0.75**2 + 0.5**2)
    assert league.priority([idle, miner, first]) == pytest.approx(expected)
    sides: dict[int, list[int]] = {uid: [] for uid in league.members}
    for _ in range(2000):
        seats.draw(0)
        sides[int(seats.opponent[0])].append(int(seats.player[0]))
    share = np.array([len(sides[member.uid]) for member in (idle, miner, first)]) / 2000
    assert share == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 2000))
    for drawn in sides.values():
        assert all(a != b for a, b in zip(drawn, drawn[1:]))


def test_few_opponents_play_at_once_and_all_are_met():
    options = LeagueConfig(share=1.0, scripted=("idle", "miner", "farmer"), distinct=3, scripted_games=3, pool=16, hardness=0)
    trainer = PPOLearner(dataclasses.replace(SMALL, ppo=PPOConfig(num_games=12), league=options))
    league, seats = trainer.league, trainer.seats
    assert league is not None
    for step in range(1, 7):
        league.enter(trainer.policy, step)
    begun = dict.fromkeys(league.members, 0)
    for number in range(20_000):  # games of one length end one after the other
        seats.draw(number % 12)
        begun[int(seats.opponent[number % 12])] += 1
        kinds = [league.members[int(uid)].kind for uid in seats.opponent]
        assert kinds.count("script") <= 3
        assert sorted(seats.scripts) == sorted(seats.record) == [game for game, kind in enumerate(kinds) if kind == "script"]
        if number > 100:
            assert len({int(uid) for uid, kind in zip(seats.opponent, kinds) if kind == "own"}) <= 3 + 1
    own = [begun[member.uid] / 20_000 for member in league.active() if member.kind == "own"]
    assert max(own) < 1.3 * min(own) and min(own) > 1 / 10  # evenly, and at least their share


def test_the_policy_enters_by_winning_often_enough_or_by_waiting():
    trainer = PPOLearner(dataclasses.replace(SMALL, league=LeagueConfig(share=0.5, min_games=20, max_steps=1000, pool=5)))
    league, policy = trainer.league, trainer.policy
    assert league is not None
    first = league.last_four()[0]
    played(league, policy, [1.0] * 11, first.uid, step=100)  # all won, but too few
    assert len(league.active()) == 1
    played(league, policy, [0.0] * 9, first.uid, step=200)  # 11 of 20: 55 %
    assert len(league.active()) == 1
    played(league, policy, [1.0, 0.5], first.uid, step=300)  # 12.5 of 22: 56.8 %
    assert len(league.active()) == 1
    played(league, policy, [1.0], first.uid, step=400)  # 13.5 of 23: 58.7 %
    assert [member.name for member in league.active()] == ["step-0", "step-400"]
    assert (league.active()[1].rating, league.active()[1].sigma) == (league.rating, league.sigma)
    assert sum(member.new_games for member in league.active()) == 0
    played(league, policy, [], first.uid, step=1399)
    assert len(league.active()) == 2
    played(league, policy, [], first.uid, step=1400)
    assert [member.name for member in league.active()] == ["step-0", "step-400", "step-1400"]
    with torch.no_grad():
        before = league.agent(2).policy.value.weight.clone()
        policy.value.weight.add_(1.0)  # entries are copies
        assert torch.equal(before, league.agent(2).policy.value.weight)


def test_a_full_pool_drops_the_easiest_past_policy_once_its_games_are_over():
    trainer = PPOLearner(dataclasses.replace(SMALL, league=LeagueConfig(share=0.5, scripted=("idle",), pool=7)))
    league, policy = trainer.league, trainer.policy
    assert league is not None
    for step in range(1, 6):
        league.enter(policy, step)
    idle, old = league.active()[0], league.active()[2]
    idle.wins = idle.games = 1000.0  # easiest of all, but given
    old.wins = old.games = 10.0
    newest = league.active()[-1]
    newest.wins = newest.games = 500.0  # one of the last four
    league.enter(policy, 6)
    assert old.retired and len(league.active()) == 7 and idle in league.active() and newest in league.active()
    league.learn_of([], {old.uid}, 6, policy)
    assert old.uid in league.members
    league.learn_of([Played(old.uid, 1.0)], set(), 6, policy)
    assert old.uid not in league.members


def test_ratings_and_win_rates_follow_the_results():
    league = league_of(scripted=("idle", "miner"))
    policy = league.agent(2).policy
    played(league, policy, [1.0] * 30, 0)
    played(league, policy, [0.0] * 30, 1)
    idle, miner = league.members[0], league.members[1]
    assert idle.rating < league.rating < miner.rating
    assert idle.win_rate > 0.9 and miner.win_rate < 0.1
    assert idle.games == pytest.approx((1 - 0.98**30) / 0.02) and idle.total == 30
    metrics = league.metrics()
    assert metrics["league/win_rate/idle"] == idle.win_rate and metrics["league/games"] == 60


def test_the_score_of_a_game_that_was_cut_off_goes_by_lichen():
    game = GameResult(0, 0, 20, False, True, True, 0, (0, 0), (7, 3), (1, 1), (1, 1), (0, 0))
    assert [score(game, 0), score(game, 1)] == [1.0, 0.0]
    assert score(dataclasses.replace(game, lichen=(3, 3)), 1) == 0.5
    assert score(dataclasses.replace(game, done=True, result=-1), 0) == 0.0


def test_games_cut_short_for_staggering_count_for_nothing():
    trainer = PPOLearner(dataclasses.replace(SMALL, stagger=True, max_turns=32))
    for _ in range(3):
        trainer.collect()  # 24 turns: staggered games of 8 and 16 turns end, no whole one
    assert trainer.seats.played == []
    trainer.collect()
    assert len(trainer.seats.played) > 0


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="league.pool is 6 with 2 given"):
        LeagueConfig(scripted=("idle",), checkpoints=("runs/a",), pool=6)
    with pytest.raises(ValueError, match="league.share is 2"):
        LeagueConfig(share=2)
    with pytest.raises(ValueError, match="'nobody' is not built in, and no program; accepted are farmer, idle"):
        league_of(scripted=("nobody",))


def test_a_given_checkpoint_that_may_do_other_things_plays_and_its_files_are_needed_once(tmp_path):
    train(dataclasses.replace(SMALL, env_steps=32, league=LeagueConfig()), tmp_path / "given")
    given = tmp_path / "given" / "best"
    config = dataclasses.replace(
        SMALL,
        env_steps=64,
        actions=ActionConfig.full(),
        reward=PRESETS["full"].reward,
        league=LeagueConfig(share=1.0, checkpoints=(str(given),), hardness=0, match_games=2),
    )
    train(config, tmp_path / "run")
    (tmp_path / "given").rename(tmp_path / "moved")
    train(dataclasses.replace(config, env_steps=128), tmp_path / "run", resume=True)
    state = checkpoint.load(tmp_path / "run", which="latest").trainer_state["league"]
    member = Member(**state["members"][0])
    moved = checkpoint.load(tmp_path / "moved")
    assert member.name == str(given) and member.weights is not None
    for name, tensor in moved.policy_state.items():
        assert torch.equal(tensor, member.weights[name])


@pytest.mark.filterwarnings("error::UserWarning")
def test_resumed_mid_league_equals_not_stopping(tmp_path):
    """Pool, weights, ratings, results and random state; scripted agents in the middle of their games."""
    train(SMALL, tmp_path / "whole")
    train(dataclasses.replace(SMALL, env_steps=224), tmp_path / "parts")  # turn 16 of games of 20 turns
    stopped = checkpoint.load(tmp_path / "parts", which="latest").trainer_state
    assert stopped["ranks"][0]["seats"]["record"], "no scripted agent is in the middle of a game"
    train(SMALL, tmp_path / "parts", resume=True)
    whole, parts = (checkpoint.load(tmp_path / name, which="latest") for name in ("whole", "parts"))
    league = whole.trainer_state["league"]
    assert league["games"] > stopped["league"]["games"] > 3 and len(league["members"]) > len(stopped["league"]["members"]) > 3
    assert same(whole.policy_state, parts.policy_state)
    assert differences(whole.trainer_state, parts.trainer_state) == []
    curves = [[{k: v for k, v in m.items() if k.startswith("league/")} for m in read_metrics(tmp_path / n)] for n in ("whole", "parts")]
    assert curves[0] == curves[1] and any(curves[0])


def test_a_scripted_agent_whose_code_has_changed_goes_on_with_a_warning():
    trainer = PPOLearner(SMALL)
    for _ in range(2):
        trainer.step_iteration()
    state = trainer.state()
    assert state["ranks"][0]["seats"]["record"]
    again = PPOLearner(SMALL)
    for kept in state["ranks"][0]["seats"]["record"].values():
        kept["actions"][:, 1:] = 0  # as if the game had gone another way
    again.policy.load_state_dict(trainer.policy.state_dict())
    with pytest.warns(UserWarning, match="does not play game . again as it did"):
        again.load_state(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.step_iteration()


def test_an_opponent_that_crashes_loses_its_game_and_training_goes_on(monkeypatch):
    trainer = PPOLearner(dataclasses.replace(SMALL, league=LeagueConfig(share=0.25, scripted=("farmer",))))
    seats, league = trainer.seats, trainer.league
    assert league is not None
    while not seats.scripts:
        seats.draw(int(seats.league_games[0]))
        trainer.obs = trainer.env.reset()
    game, script = next(iter(seats.scripts.items()))

    def broken(*_: Any) -> None:
        raise RuntimeError("out of ideas")

    monkeypatch.setattr(script, "write_orders", broken)
    before = league.members[0].total
    with pytest.warns(UserWarning, match=r"farmer crashed \(RuntimeError: out of ideas\)"):
        trainer.step_iteration()
    assert league.members[0].total == before + 1 and league.members[0].wins == 1.0
    assert not trainer.env.games[game]["done"]


@pytest.mark.filterwarnings("ignore:League opponent farmer crashed")
def test_an_opponent_that_crashes_while_placing_does_not_end_the_training(monkeypatch):
    def broken(*_: Any) -> Any:
        raise RuntimeError("nowhere to go")

    monkeypatch.setattr("agent.scripted.farmer.site.placement", broken)
    with pytest.warns(UserWarning, match=r"opening crashed \(RuntimeError: nowhere to go\)"):
        trainer = PPOLearner(dataclasses.replace(SMALL, league=LeagueConfig(share=1.0, scripted=("farmer",), hardness=0)))
    assert trainer.seats.scripts
    assert (trainer.env.games["real_step"] == 0).all() and not trainer.env.games["done"].any()


@pytest.mark.slow
def test_killed_mid_league_it_resumes_to_the_same_pool_ratings_and_weights(tmp_path):
    command = [sys.executable, "main.py", "train", "--env-steps", "6144", "--eval-every", "0", "--eval-maps", "1", "--train-maps", "4"]
    command += ["--checkpoint-every", "256", "--ppo.num-games", "4", "--ppo.rollout-steps", "8", "--device", "cpu", "--max-turns", "50"]
    command += ["--league.share", "0.75", "--league.scripted", "farmer", "random", "--league.max-steps", "600", "--league.pool", "8"]
    command += ["--league.match-games", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--run-dir", str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    generator = np.random.default_rng(1)
    run = tmp_path / "killed"
    metrics = run / "metrics.jsonl"
    for kill in range(7):
        argv = [*command, "--run-dir", str(run), *(["--resume"] if list(run.glob("step-*")) else [])]
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if kill == 6:  # let it end
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output.decode()
            assert b"does not play game" not in output
            break
        before = metrics.stat().st_mtime_ns if metrics.exists() else 0
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_mtime_ns != before):
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 2))
        assert process.poll() is None, process.communicate()[0].decode()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    whole, killed = (checkpoint.load(tmp_path / name, which="latest") for name in ("whole", "killed"))
    assert whole.step == killed.step == 6144
    assert run_to_resume(run)[1].league.scripted == ("farmer", "random")
    assert len(whole.trainer_state["league"]["members"]) >= 8
    assert same(whole.policy_state, killed.policy_state)
    assert differences(whole.trainer_state, killed.trainer_state) == []
