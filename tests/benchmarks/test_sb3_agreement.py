"""One group of one entity is plain PPO: our update is that of sb3-contrib's MaskablePPO, number for number."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import ConvertCallback

from benchmarks.sb3_agreement import (
    OURS,
    STOCK,
    WINDOWS,
    Episode,
    Setting,
    compare,
    curve,
    difference,
    final,
    main,
    make_stock,
    make_trainer,
)
from training.trajectories.grouping import Parts

torch.set_num_threads(1)

SMALL = Setting(
    env_steps=512, seeds=2, num_envs=4, rollout_steps=32, minibatches=4, epochs=3, max_turns=25, maps=4, learning_rate=5e-3, ent_coef=0.1
)


class StockOrder:
    """Minibatches in the stock order: it numbers a rollout environment by environment, we do step by step."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting, self.random = setting, np.random.RandomState(seed)

    def permutation(self, count: int) -> np.ndarray:
        env, step = np.divmod(self.random.permutation(count), self.setting.rollout_steps)
        return step * self.setting.num_envs + env


def stock_rollout(setting: Setting, seed: int) -> tuple[Any, list[np.ndarray]]:
    """A stock learner that has collected a rollout and learned nothing yet; and its rewards `[N]` and ends `[N]` by step."""
    model = make_stock(setting, seed)
    _, callback = model._setup_learn(setting.env_steps, ConvertCallback(None))
    ends: list[np.ndarray] = []
    step_wait = model.env.step_wait

    def listening() -> Any:
        result = step_wait()
        ends.append(result[2].copy())
        return result

    model.env.step_wait = listening
    model.collect_rollouts(model.env, callback, model.rollout_buffer, setting.rollout_steps)
    return model, ends


def give_rollout(trainer: Any, model: Any, ends: list[np.ndarray]) -> None:
    """Put the stock learner's weights and rollout into ours, as if `PPOLearner.collect` had played it."""
    buffer, games = model.rollout_buffer, trainer.env
    with torch.no_grad():
        for ours, stock in zip(trainer.policy.parameters(), model.policy.parameters(), strict=True):
            assert ours.shape == stock.shape
            ours.copy_(stock)
    rollout = trainer.rollout
    rollout.begin()
    everyone = np.arange(len(games.envs))
    for step in range(rollout.steps):
        games.seen[:] = buffer.observations[step]
        obs = games._observe(everyone)
        obs.mask[:] = buffer.action_masks[step].astype(np.int64) @ games.bits
        batch = trainer.policy.batch(obs)
        action = torch.zeros(len(everyone), 4, dtype=torch.int64)
        action[:, 0] = torch.from_numpy(buffer.actions[step, :, 0].astype(np.int64))
        with torch.no_grad():
            logits, value, _ = trainer.policy(batch)
            log_prob, _ = trainer.policy.distribution(logits, batch.mask).evaluate(action)
        np.testing.assert_allclose(value, buffer.values[step], atol=1e-5)
        np.testing.assert_allclose(log_prob, buffer.log_probs[step], atol=1e-5)
        rollout.add(obs, batch, torch.from_numpy(buffer.values[step]), action, torch.from_numpy(buffer.log_probs[step]))
        # the stock buffer has the value after a truncation inside the reward, which makes it an end like any other
        rollout.outcome(buffer.rewards[step], ends[step], np.zeros_like(ends[step]))
    games.seen[:] = model._last_obs
    batch = trainer.policy.batch(games._observe(everyone))
    with torch.no_grad():
        rollout.add(games.obs, batch, trainer.policy(batch).value)
    rollout.finish()


def test_one_update_is_that_of_the_stock_library() -> None:
    model, ends = stock_rollout(SMALL, seed=3)
    assert sum(end.sum() for end in ends) >= 4  # the rollout has ends in it
    trainer: Any = make_trainer(SMALL, seed=3)
    give_rollout(trainer, model, ends)
    before = [p.detach().clone() for p in trainer.policy.parameters()]

    # advantages and returns: ours are by (step, environment), as the stock buffer's still are
    taught, buffer = trainer.targets(), model.rollout_buffer
    active = taught.groups.active
    shape = (SMALL.rollout_steps, SMALL.num_envs)
    np.testing.assert_allclose(taught.advantage[active].reshape(shape), buffer.advantages, atol=1e-4)
    np.testing.assert_allclose(taught.returns[active].reshape(shape), buffer.returns, atol=1e-4)

    trainer.shuffle = StockOrder(SMALL, 17)
    metrics = trainer.learn()
    np.random.seed(17)
    model.train()

    moved = 0.0
    for ours, stock, start in zip(trainer.policy.parameters(), model.policy.parameters(), before, strict=True):
        torch.testing.assert_close(ours, stock, rtol=1e-4, atol=2e-5)
        moved = max(moved, (stock.detach() - start).abs().max().item())
    assert moved > 100 * 2e-5  # the agreement is of a real step
    logged = model.logger.name_to_value
    assert metrics["losses/policy_loss"] == pytest.approx(logged["train/policy_gradient_loss"], abs=1e-5)
    assert metrics["losses/value_loss"] == pytest.approx(logged["train/value_loss"] / 2, rel=1e-4)
    assert metrics["losses/entropy"] == pytest.approx(-logged["train/entropy_loss"], rel=1e-5)
    assert metrics["losses/clipfrac"] == pytest.approx(logged["train/clip_fraction"], abs=0.01)


@pytest.mark.parametrize("max_turns", [25, 500])
def test_training_with_the_same_actions_is_the_same_training(max_turns: int) -> None:
    """`PPOLearner.collect` and `learn` beside the stock loop that is made to choose as ours did: equal observations, rewards,
    masks, advantages and returns in every rollout, and equal weights after every update, through truncations (at 25
    turns) and deaths (by thirst at 150)."""
    setting = dataclasses.replace(SMALL, max_turns=max_turns, learning_rate=1e-3)
    trainer: Any = make_trainer(setting, seed=5)
    model = make_stock(setting, seed=5)
    ended = {"done": 0, "truncated": 0}
    with torch.no_grad():
        for ours, stock in zip(trainer.policy.parameters(), model.policy.parameters(), strict=True):
            stock.copy_(ours)
    policy, buffer, shape = model.policy, model.rollout_buffer, (setting.rollout_steps, setting.num_envs)
    chosen: list[torch.Tensor] = []

    def doing_the_same(seen: torch.Tensor, action_masks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        choice = chosen.pop(0)
        value, log_prob, _ = policy.evaluate_actions(seen, choice, torch.from_numpy(np.array(action_masks)))
        return choice, value, log_prob

    policy.forward = doing_the_same
    _, callback = model._setup_learn(setting.env_steps, ConvertCallback(None))
    for iteration in range(6):
        trainer.collect()
        rollout, taught = trainer.rollout, trainer.targets()
        for end in ended:
            ended[end] += int(getattr(rollout, end).sum())
        part = Parts(taught.groups).part(np.arange(setting.rollout))
        batch, action = rollout.minibatch(part, torch.arange(setting.rollout))
        chosen += action[:, 0].reshape(shape)
        model.collect_rollouts(model.env, callback, buffer, setting.rollout_steps)

        seen = torch.cat([batch.feature, batch.scalar[batch.side]], 1)
        assert np.array_equal(seen.numpy().reshape(*shape, -1), buffer.observations)
        legal = (batch.mask.numpy()[:, None] & trainer.env.bits) != 0
        assert np.array_equal(legal.reshape(*shape, -1), buffer.action_masks != 0)
        active = taught.groups.active
        for ours, stock in (("value", buffer.values), ("advantage", buffer.advantages), ("returns", buffer.returns)):
            np.testing.assert_allclose(getattr(taught, ours)[active].reshape(shape), stock, atol=1e-5)
        np.testing.assert_allclose(rollout.old_log_prob(part).reshape(shape), buffer.log_probs, atol=1e-5)

        trainer.shuffle = StockOrder(setting, iteration)
        trainer.learn()
        np.random.seed(iteration)
        model.train()
        for ours, stock in zip(trainer.policy.parameters(), policy.parameters(), strict=True):
            torch.testing.assert_close(ours, stock, rtol=0, atol=5e-6)
    assert ended["truncated" if max_turns == 25 else "done"] >= SMALL.num_envs


def test_the_comparison_runs_and_reports(tmp_path: Path) -> None:
    main(SMALL, tmp_path)
    page = (tmp_path / "sb3_agreement.md").read_text()
    assert f"| {STOCK} |" in page and f"| {OURS} |" in page and "standard error" in page
    assert (tmp_path / "sb3_agreement.png").stat().st_size > 1000


def test_curves_and_final_returns_are_means_of_the_episodes_that_ended_there() -> None:
    steps = 100 * WINDOWS
    episodes = [Episode(100, 1.0, 1, 10), Episode(101, 5.0, 2, 10), Episode(150, 7.0, 3, 10), Episode(steps, 9.0, 4, 20)]
    found = curve(episodes, steps)
    assert found[0] == 1.0 and (found[1:-1] == 6.0).all() and found[-1] == 9.0
    assert final(episodes, steps) == (9.0, 4.0, 20.0)


@pytest.mark.slow
def test_learning_curves_agree() -> None:
    """Both learn to bring ice, and they differ by no more than chance makes them: three standard errors."""
    found = compare(Setting(seeds=4))
    for rows in found.values():
        assert (rows["curves"][:, -1] > 20 * np.maximum(rows["curves"][:, 0], 1.0)).all()
    gap, error = difference(found, whole=True)
    assert abs(gap) < 3 * error
