"""Disturbed observations: each does to the numbers what it says, and the adversary does what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reproduce.tasks.disturbed import adversary, bias, gaussian, missing
from reproduce.tasks.learn import LearnConfig, Learner
from reproduce.tasks.q_learn import QConfig, QLearner

torch.set_num_threads(1)
CUE = LearnConfig(task="cue", options={"own": 1.0, "distractors": 2}, width=32, envs=64, rollout_steps=8, reward_scale=1.0, gamma=0.9)
SEEN = torch.randn(4000, 6)
ALL = torch.ones(4000, 3, dtype=torch.bool)


class Linear(torch.nn.Module):
    """A policy whose logits are its first three inputs."""

    def forward(self, feature, mask):
        return type("Output", (), {"logits": feature[:, :3]})


def disturbed(disturbance, seed: int = 0) -> torch.Tensor:
    return disturbance(Linear(), SEEN, ALL, torch.Generator().manual_seed(seed))


def test_noise_a_bias_and_missing_numbers_are_as_large_as_they_say():
    noise = disturbed(gaussian(0.5)) - SEEN
    assert abs(float(noise.std()) - 0.5) < 0.02 and abs(float(noise.mean())) < 0.02
    assert torch.equal(disturbed(gaussian(0.5)), disturbed(gaussian(0.5))) and not torch.equal(noise, disturbed(gaussian(0.5), 1) - SEEN)
    off = disturbed(bias(0.3), 1) - SEEN
    torch.testing.assert_close(off, off[:1].expand_as(off), atol=1e-6, rtol=0)  # the same in every row, and whatever the seed
    torch.testing.assert_close(off[0].abs(), torch.full((6,), 0.3), atol=1e-6, rtol=0)
    kept = disturbed(missing(0.2))
    assert abs(float((kept == 0).float().mean()) - 0.2) < 0.02 and torch.equal(kept[kept != 0], SEEN[kept != 0])


def test_the_adversary_moves_within_its_reach_against_the_best_action():
    moved = disturbed(adversary(0.1))
    assert float((moved - SEEN).abs().max()) <= 0.1 + 1e-6
    before, after = (x[:, :3].log_softmax(-1).gather(1, SEEN[:, :3].argmax(1, keepdim=True)) for x in (SEEN, moved))
    assert bool((after < before).all())
    assert torch.equal(moved[:, 3:], SEEN[:, 3:])  # what no logit depends on


def test_an_adversary_costs_more_than_noise_of_its_size_and_random_play_does_not_ask_the_policy():
    learner = Learner(CUE)
    while learner.env_steps < 8192:
        learner.iterate()
    clean, noisy, fooled = (learner.evaluate(512, disturb, seed=1) for disturb in (None, gaussian(0.4), adversary(0.4)))
    assert clean > 0.9 and clean >= noisy > fooled
    assert learner.random_return(512, 1) == Learner(CUE).random_return(512, 1) == pytest.approx(0.25, abs=0.04)


def test_random_play_is_alike_for_both_learners():
    """On spread, whose actions are all legal: the means of 512 episodes each, within four standard errors of their difference."""
    one = Learner(LearnConfig(task="spread", envs=4)).returns(512, seed=1, anyhow=True).mean(1)
    other = QLearner(QConfig(task="spread", envs=4)).returns(512, 1, epsilon=1.0).mean(1)
    assert abs(one.mean() - other.mean()) < 4 * np.sqrt(one.var() / 512 + other.var() / 512)
