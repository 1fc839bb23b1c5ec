"""Long runs: step sizes that follow the KL, alarms, the best checkpoint by rating, and the report of a run."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from agent.policy import Policy, policy_sizes
from agent.stored import Agent
from training.config import LeagueConfig, PPOConfig, TrainConfig
from training.league.league import League
from training.league.strength import BETA, measure, performance_rating
from training.ppo.learner import PPOLearner
from training.ppo.step_size import adapted
from training.run import checkpoint
from training.run.health import WINDOW, Health, health_of, keep_alarms_until, read_alarms, record_alarm
from training.run.metrics import MetricsWriter
from training.train import Run, train
from wrappers.action import ActionConfig

torch.set_num_threads(1)

PPO = PPOConfig(num_games=4, rollout_steps=8, epochs=2, minibatches=2)
SMALL = TrainConfig(env_steps=128, train_maps=4, eval_every=10**9, eval_maps=1, checkpoint_every=64, max_turns=20, device="cpu", ppo=PPO)


def with_ppo(**options: Any) -> TrainConfig:
    return dataclasses.replace(SMALL, ppo=dataclasses.replace(PPO, **options))


def weights(trainer: PPOLearner) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in trainer.policy.parameters()])


# ------------------------------------------------------------------------------------------------------------ step size


def test_passes_end_when_the_policy_has_moved_far_enough_and_otherwise_nothing_changes():
    plain, wide, narrow = (PPOLearner(with_ppo(target_kl=kl)) for kl in (None, 1e3, 1e-12))
    updates = [trainer.step_iteration()["charts/updates"] for trainer in (plain, wide, narrow)]
    assert updates == [4, 4, 1]  # before the first update KL is 0, after it it is not
    assert np.array_equal(weights(plain), weights(wide))
    assert not np.array_equal(weights(plain), weights(narrow))


def test_the_adapted_learning_rate_rises_and_falls_by_half_as_published():
    assert adapted(1e-3, 0.01, 0.021) == pytest.approx(1e-3 / 1.5)
    assert adapted(1e-3, 0.01, 0.0049) == pytest.approx(1.5e-3)
    assert adapted(1e-3, 0.01, 0.02) == adapted(1e-3, 0.01, 0.005) == adapted(1e-3, 0.01, 0.01) == 1e-3
    assert adapted(1.2e-5, 0.01, 1.0) == 1e-5 and adapted(9e-3, 0.01, 0.0) == 1e-2
    assert adapted(1e-6, 0.01, 1.0) == 1e-6 and adapted(0.1, 0.01, 0.0) == 0.1  # what the user set beyond the bounds is not drawn in


def test_the_learning_rate_is_lowered_to_zero_and_never_below():
    trainer = PPOLearner(with_ppo(learning_rate=1e-3, epochs=1))
    seen = [trainer.step_iteration()["charts/learning_rate"] for _ in range(6)]  # two more than there are in the run
    assert seen == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3, 0.0, 0.0])
    constant = PPOLearner(with_ppo(anneal_learning_rate=False))
    assert {constant.step_iteration()["charts/learning_rate"] for _ in range(3)} == {constant.config.ppo.learning_rate}


def test_a_run_interrupted_while_the_learning_rate_falls_goes_on_exactly(tmp_path):
    whole, parts = PPOLearner(SMALL), PPOLearner(SMALL)
    for _ in range(2):
        parts.step_iteration()
    Run(parts, tmp_path).save()
    train(SMALL, tmp_path, resume=True)
    for _ in range(4):
        whole.step_iteration()
    resumed = checkpoint.load(tmp_path, which="latest")
    assert resumed.step == whole.env_steps == SMALL.env_steps
    for name, tensor in whole.policy.state_dict().items():
        assert torch.equal(tensor, resumed.policy_state[name]), name


def test_the_learning_rate_follows_the_kl_and_survives_resuming(tmp_path):
    config = with_ppo(desired_kl=1e3, learning_rate=1e-3)  # KL is always below half of it
    trainer = PPOLearner(config)
    seen = [trainer.step_iteration()["charts/learning_rate"] for _ in range(3)]
    assert seen == pytest.approx([1e-3, 1.5e-3, 2.25e-3])  # and nothing anneals it
    train(config, tmp_path / "whole")
    train(dataclasses.replace(config, env_steps=64), tmp_path / "parts")
    train(config, tmp_path / "parts", resume=True)
    whole, parts = (checkpoint.load(tmp_path / name, which="latest") for name in ("whole", "parts"))
    assert whole.trainer_state["optimizer"]["param_groups"] == parts.trainer_state["optimizer"]["param_groups"]
    assert whole.trainer_state["optimizer"]["param_groups"][0]["lr"] == pytest.approx(1e-3 * 1.5**4)
    for name, tensor in whole.policy_state.items():
        assert torch.equal(tensor, parts.policy_state[name]), name
    with pytest.raises(ValueError, match="target_kl is 0"):
        PPOConfig(target_kl=0.0)


# --------------------------------------------------------------------------------------------------------------- alarms


def looked(health: Health, explained: float, norm: float, times: int = 1) -> list[str]:
    return [alarm for _ in range(times) for alarm in health.look({"losses/explained_variance": explained, "losses/grad_norm": norm})]


def test_alarms_are_told_once_and_again_after_they_have_passed():
    health = Health()
    assert looked(health, 0.9, 1.0, 3 * WINDOW) == []
    assert looked(health, 0.9, 9.0) == []
    (spike,) = looked(health, 0.9, 12.0, 2)
    assert "12 times its median" in spike and "lower the learning rate" in spike
    assert looked(health, math.nan, 1.0, WINDOW) == []  # returns that do not vary explain nothing and alarm nobody
    (collapse,) = looked(health, 0.3, 1.0, WINDOW)
    assert "collapsed" in collapse and "0.90 at its best" in collapse
    (worthless,) = looked(health, -0.5, 1.0, WINDOW)
    assert "explain nothing" in worthless
    assert looked(health, 0.9, 1.0, 2 * WINDOW) == []
    assert len(looked(health, 0.9, 20.0)) == 1


def test_a_critic_that_never_learned_alarms_only_after_a_while():
    health = Health()
    assert looked(health, -0.1, 1.0, WINDOW - 1) == []
    assert len(looked(health, -0.1, 1.0, 5 * WINDOW)) == 1


def test_a_resumed_run_forgets_alarms_of_steps_that_it_takes_again(tmp_path):
    for step in (100, 200, 300):
        record_alarm(tmp_path, step, f"alarm {step}")
    keep_alarms_until(tmp_path, 200)
    assert [alarm["step"] for alarm in read_alarms(tmp_path)] == [100, 200]


def test_a_resumed_run_remembers_what_its_metrics_showed(tmp_path):
    """The best that was, the usual gradient, and what has been told: the alarms are those of a run that never stopped."""
    course = [0.9] * WINDOW + [math.nan] * 3 + [0.3] * 2 * WINDOW + [-0.5] * 2 * WINDOW
    looks = [{"losses/explained_variance": value, "losses/grad_norm": 50.0 if i == 4 * WINDOW else 1.0} for i, value in enumerate(course)]
    whole = Health()
    told = [whole.look(metrics) for metrics in looks]
    assert sum(map(len, told)) == 3
    for stop in (WINDOW, 2 * WINDOW, 3 * WINDOW, len(looks) - 1):
        with MetricsWriter(tmp_path / str(stop)) as writer:
            for step in range(stop):
                writer.write(step, looks[step])
        resumed = health_of(tmp_path / str(stop))
        assert [resumed.look(metrics) for metrics in looks[stop:]] == told[stop:]


# ------------------------------------------------------------------------------------------------------------- strength


def test_a_performance_rating_explains_the_score():
    assert performance_rating([25.0, 31.0], [0.5, 0.5]) == pytest.approx(28.0)
    wins = performance_rating([20.0] * 10_000, [1.0] * 7_500 + [0.0] * 2_500)
    assert wins == pytest.approx(20.0 + math.sqrt(2) * BETA * NormalDist().inv_cdf(0.75), abs=0.01)
    all_won, all_lost = performance_rating([25.0] * 8, [1.0] * 8), performance_rating([25.0] * 8, [0.0] * 8)
    assert all_won + all_lost == pytest.approx(50.0) and 30 < all_won < 45
    with pytest.raises(ValueError, match="0 ratings and 0 scores"):
        performance_rating([], [])


def test_a_policy_that_builds_nothing_is_rated_below_the_miner_and_measuring_changes_nothing():
    actions = ActionConfig.survival(build_heavy=False)
    trainer = PPOLearner(dataclasses.replace(SMALL, actions=actions, league=LeagueConfig(share=0.5, scripted=("miner",))))
    league = trainer.league
    assert league is not None
    league.members[0].rating = 30.0
    league.members[1].retired = True  # the miner alone
    before = trainer.state()
    agent = Agent(Policy(trainer.config.policy, policy_sizes(actions)), actions)
    scores = measure(agent, league, trainer.config.game(), games=2)
    assert scores["pool_win_rate"] == 0.0
    assert scores["rating"] == pytest.approx(performance_rating([30.0, 30.0], [0.0, 0.0])) and scores["rating"] < 25
    assert scores == measure(agent, league, trainer.config.game(), games=2)
    after = trainer.state()
    assert torch.equal(before["ranks"][0]["seats"]["generator"], after["ranks"][0]["seats"]["generator"])
    assert before["ranks"][0]["seats"]["rng"] == after["ranks"][0]["seats"]["rng"]
    assert League.state(league)["rating"] == before["league"]["rating"]


def test_the_best_checkpoint_is_the_one_rated_highest_not_the_richest(tmp_path):
    trainer = PPOLearner(dataclasses.replace(SMALL, league=LeagueConfig(share=0.5)))
    poor = {"finished": 0.5, "lichen": 9e4, "ice_transferred": 1e5}
    rich = {"finished": 1.0, "lichen": 2e4, "ice_transferred": 4e4}
    richer = {"finished": 1.0, "lichen": 2e4, "ice_transferred": 5e4}
    run = Run(trainer, tmp_path / "run")
    for step, scores in ((1, {**poor, "rating": -3.0}), (2, {**poor, "rating": 4.0}), (3, {**rich, "rating": 3.9}), (4, None)):
        trainer.env_steps = step
        run.save(scores)
    assert checkpoint.load(tmp_path / "run").step == 2
    assert checkpoint.load(tmp_path / "run" / "best").step == 2
    assert checkpoint.load(tmp_path / "run", which="latest").step == 4
    without = PPOLearner(SMALL)
    plain = Run(without, tmp_path / "plain")
    for step, scores in ((1, poor), (2, rich), (3, richer), (4, {**richer, "lichen": 1e4, "ice_transferred": 1e6}), (5, poor)):
        without.env_steps = step
        plain.save(scores)
    assert checkpoint.load(tmp_path / "plain").step == 3
