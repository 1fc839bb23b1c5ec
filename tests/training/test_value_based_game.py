"""Q-learning on the game: the policy's logits as Q-values, groups as mixtures, exact resume, and a package that plays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from agent.policy import Policy, PolicyConfig
from agent.sparse import SparseConfig
from agent.stored import load_agent
from arena.evaluate import evaluate_checkpoint
from arena.match import play_match
from main import main
from submission.package import package
from tests.rows import legal_actions
from training.config import LeagueConfig, PPOConfig, QConfig, TrainConfig, config_of
from training.ppo.learner import PPOLearner
from training.report import write_report
from training.run import checkpoint
from training.run.metrics import read_metrics
from training.train import LEARNERS, run_to_resume, train
from training.trajectories.grouping import Grouping, Parts
from training.trajectories.rollout import Rollout
from training.value_based.learner import ValueLearner, action_shortfall
from training.value_based.mixers import by_seat
from wrappers.action import ActionConfig

torch.set_num_threads(1)

SMALL = TrainConfig(
    algo="iql",
    env_steps=192,
    train_maps=4,
    eval_every=10**9,
    eval_maps=1,
    checkpoint_every=64,
    device="cpu",
    actions=ActionConfig.full(),
    policy=PolicyConfig(width=16),
    q=QConfig(
        num_games=4, rollout_steps=8, replay=3, passes=2, minibatches=2, target_interval=2, epsilon_steps=100, anneal_learning_rate=False
    ),
)


def shaken(algo: str = "iql", **changes) -> ValueLearner:
    """A trainer whose networks say something, with one piece played."""
    trainer = ValueLearner(dataclasses.replace(SMALL, algo=algo, **changes))
    with torch.no_grad():
        for p in trainer.online.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    trainer.target.load_state_dict(trainer.online.state_dict())
    trainer.collect()
    return trainer


def test_the_value_head_is_the_largest_q_value_and_the_greedy_choice_has_it():
    trainer = shaken(actions=ActionConfig.full(amounts=("all",)))
    for _ in range(6):  # until there are robots
        trainer.collect()
    batch = trainer.replay[-1].whole()
    with torch.no_grad():
        output = trainer.policy(batch)
        greedy, _ = trainer.policy.distribution(output.logits, batch.mask).sample()  # greedy by the policy's own config
        least = 0.0
        for row in np.random.default_rng(0).choice(len(batch.mask), 40, replace=False):
            actions = torch.tensor(legal_actions(int(batch.mask[row])))
            actions[:, 3] = 2  # all there is
            actions[:, 3] *= torch.from_numpy(np.isin(actions[:, 0].numpy(), (2, 3, 6)))  # for kinds that have an amount
            count = len(actions)
            distribution = trainer.policy.distribution(output.logits[row].expand(count, -1), batch.mask[row].expand(count))
            short = action_shortfall(distribution, actions)
            assert float(short.max()) == 0.0
            assert actions[short.argmax()].tolist() == greedy[row].tolist()
            least = min(least, float(short.min()))
        assert least < -0.01
    first, second = (trainer.policy.act(trainer.obs, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert np.array_equal(first, second)  # nothing is sampled


def test_exploration_is_legal_and_as_frequent_as_epsilon_says():
    trainer = shaken()
    batch = trainer.policy.batch(trainer.obs)
    with torch.no_grad():
        output = trainer.policy(batch)
        best, _ = trainer.policy.distribution(output.logits, batch.mask).sample()
        trainer.env_steps = 10**6
        assert trainer.epsilon == pytest.approx(0.05)
        many = torch.stack([trainer.explore(output, batch) for _ in range(400)])
    choices = torch.tensor([len(legal_actions(int(mask))) for mask in batch.mask])
    changed = (many != best).any(-1).float().mean(0)
    assert (changed[choices > 1].mean() < 0.06) and changed[choices > 2].mean() > 0.02 and (changed[choices == 1] == 0).all()
    for row, mask in enumerate(batch.mask.tolist()):
        legal = {tuple(action[:3]) for action in legal_actions(mask)}
        assert {tuple(action[:3]) for action in many[:, row].tolist()} <= legal


def test_a_kept_piece_gives_the_values_that_acting_had_step_t_included():
    trainer = shaken()
    piece = trainer.replay[-1]
    values = trainer.row_values(piece.whole())
    assert torch.allclose(values[: piece.acted], piece._columns.value[: piece.acted], atol=1e-6)
    with torch.no_grad():
        now = trainer.policy(trainer.policy.batch(trainer.obs)).value
    assert torch.allclose(values[piece.acted :], now, atol=1e-6) and len(now) > 0
    with pytest.raises(ValueError, match="keep_last"):
        Rollout(2, 1, trainer.sizes, torch.device("cpu")).whole()


@pytest.mark.parametrize("algo", ["iql", "vdn", "qmix"])
def test_what_is_learned_and_its_targets_are_of_the_same_groups(algo):
    """With nothing but the maximum chosen, no reward and gamma 1, a one-step target is the next step's mixture."""
    trainer = shaken(algo, q=dataclasses.replace(SMALL.q, gamma=1.0, lam=0.0))
    piece = trainer.replay[-1]
    piece.reward[:] = 0.0
    taught = trainer.targets(piece)
    groups = taught.groups
    parts = Parts(groups)
    part = parts.part(np.arange(parts.pairs))
    batch, _ = piece.minibatch(part, torch.arange(parts.pairs))
    with torch.no_grad():
        mixed = trainer.mix(trainer.policy(batch).value, batch, part)
    assert torch.allclose(mixed, torch.from_numpy(taught.value[groups.active]), atol=1e-4)
    goes_on = (groups.next >= 0) & (groups.next < groups.acted) & groups.active
    assert np.allclose(taught.returns[goes_on], taught.value[groups.next[goes_on]], atol=1e-4) and goes_on.any()
    assert len(mixed) == (piece.acted if algo == "iql" else len(np.unique(groups.team[groups.active])))
    if algo == "qmix":
        with torch.no_grad():
            seats = by_seat(trainer.policy(batch).value, batch.kind, batch.side, part.teams, 3)
            assert torch.equal(trainer.mixer(seats, batch.scalar)[part.team, 0], mixed)


def test_iql_takes_any_grouping_and_a_team_takes_none():
    trainer = shaken(grouping=Grouping("home", "home"))
    assert trainer.learn()["losses/td_loss"] >= 0
    with pytest.raises(ValueError, match="algo is vdn, whose groups are the teams"):
        dataclasses.replace(SMALL, algo="vdn", grouping=Grouping("home", "home"))
    with pytest.raises(ValueError, match=r"policy.greedy is set by"):
        TrainConfig(policy=PolicyConfig(greedy=True))
    with pytest.raises(ValueError, match=r"q.replay is 0"):
        QConfig(replay=0)
    with pytest.raises(ValueError, match=r"algo is iql and league.share is 0.5"):  # what would be left out silently
        dataclasses.replace(SMALL, league=LeagueConfig(share=0.5))
    with pytest.raises(ValueError, match=r"algo is iql and ppo.teacher is runs/a"):
        dataclasses.replace(SMALL, ppo=PPOConfig(teacher="runs/a"))


@pytest.mark.parametrize("backbone", ["communication", "bun", "adaps"])
def test_every_backbone_learns_q_values_and_sparse_targets_stay_sparse(backbone):
    small = PolicyConfig(width=16, backbone=backbone, sparsity=0.5, sparse=SparseConfig(interval=4, window=1))
    trainer = ValueLearner(dataclasses.replace(SMALL, policy=small, q=dataclasses.replace(SMALL.q, target_interval=1)))
    for _ in range(3):
        assert all(np.isfinite(value) for value in trainer.step_iteration().values())
    trainer.target.load_state_dict(trainer.online.state_dict())
    masked = [layer for layer in trainer.target.modules() if hasattr(layer, "mask") and hasattr(layer, "weight")]
    assert masked and not any(layer.weight[~layer.mask].any() for layer in masked)  # pyright: ignore[reportIndexIssue, reportOperatorIssue]
    assert any(p.grad is not None and p.grad.any() for p in trainer.policy.backbone.parameters())


@pytest.mark.parametrize("algo", ["iql", "qmix"])
def test_resuming_equals_not_stopping_replay_included(algo, tmp_path):
    config = dataclasses.replace(SMALL, algo=algo, max_turns=24)
    train(config, tmp_path / "whole")
    train(dataclasses.replace(config, env_steps=96), tmp_path / "parts")
    folder, stored = run_to_resume(tmp_path / "parts")
    assert stored.algo == algo
    train(config, folder, resume=True)
    whole, parts = (checkpoint.load(tmp_path / name, which="latest") for name in ("whole", "parts"))
    assert whole.step == parts.step == config.env_steps
    for name, tensor in whole.policy_state.items():
        assert torch.equal(tensor, parts.policy_state[name]), name
    for name, tensor in whole.trainer_state["target"].items():
        assert torch.equal(tensor, parts.trainer_state["target"][name]), name
    for name in ("updates", "env_steps"):
        assert whole.trainer_state[name] == parts.trainer_state[name] > 0
    pieces = [run.trainer_state["ranks"][0]["replay"] for run in (whole, parts)]
    assert len(pieces[0]) == SMALL.q.replay
    for one, other in zip(*pieces):
        assert np.array_equal(one["facts"], other["facts"]) and all(map(torch.equal, one["columns"], other["columns"]))
    assert {"losses/td_loss", "charts/epsilon", "charts/replay_mb"} <= set(list(read_metrics(tmp_path / "parts"))[-1])


def test_a_checkpoint_is_an_agent_like_any_other_and_plays_its_best_actions(tmp_path):
    train(SMALL, tmp_path / "run")
    agent, _, stored = load_agent(str(tmp_path / "run"))
    assert agent.policy.config.greedy and config_of(stored.config) == SMALL
    assert Policy.from_config(stored.config["policy"]).config.greedy
    report = package(tmp_path / "run", tmp_path / "x.tar.gz")
    assert report.parameters == int(agent.policy.stats()["policy_parameters"])
    assert write_report([tmp_path / "run"], tmp_path / "page.html") > 0
    assert all(shown in (tmp_path / "page.html").read_text() for shown in ("TD loss", "mean Q-value", "random actions"))
    assert LEARNERS["mppo"] is PPOLearner and LEARNERS["iql"] is ValueLearner


def test_the_command_line_says_what_is_wrong(capsys, tmp_path):
    assert main(["train", "--algo", "vdn", "--grouping.robots", "home", "--run-dir", str(tmp_path / "x")]) == 2
    assert "whose groups are the teams" in capsys.readouterr().err


@pytest.mark.slow
def test_iql_learns_to_survive_and_its_package_plays_a_whole_official_match(tmp_path):
    config = TrainConfig(algo="iql", env_steps=30_720, eval_every=10_240, seed=3)
    train(config, tmp_path / "run")
    scores = evaluate_checkpoint(str(tmp_path / "run"), 32)
    print(scores)
    assert scores["finished"] >= 0.8, scores
    package(tmp_path / "run", tmp_path / "x.tar.gz")
    result = play_match(tmp_path / "x.tar.gz", "miner", seed=1, log_dir=tmp_path, overage=120)
    assert "Traceback" not in (tmp_path / "left.log").read_text()
    assert result.left.error is None and result.turns == 1000, result.reason
