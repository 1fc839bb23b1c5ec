"""Our IQL with one agent is the stock library's DQN: equal gradients exactly, and equal learning curves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from benchmarks.dqn_agreement import Setting, compare, gaps, make_stock, our_config, seen
from reproduce.tasks.q_learn import QLearner
from training.value_based.nets import AgentNets, Stack

torch.set_num_threads(1)


def layers(net: AgentNets) -> list[Stack]:
    assert net.second is not None
    return [net.enter, net.second, net.leave]


def test_an_update_from_equal_weights_and_transitions_has_equal_gradients():
    setting = Setting(batch=6)
    learner = QLearner(dataclasses.replace(our_config(setting, 1), envs=6))
    learner.replay.add(learner.play())
    for p in learner.target.parameters():  # so that it is no matter of one network only
        p.data += 0.02 * torch.randn(p.shape)
    learner.optimizer.zero_grad()
    batch = learner.replay.batch(np.arange(6))
    chosen, target, _ = learner.differences(batch)
    assert (chosen - target).abs().max() < 1.0  # where the stock library's loss is half the square
    learner.loss(batch).backward()

    model = make_stock(setting, 1)
    for net, theirs in ((learner.agent, model.q_net), (learner.target.agent, model.q_net_target)):
        for ours, stock in zip(layers(net), (layer for layer in theirs.q_net if hasattr(layer, "weight"))):
            stock.weight.data.copy_(ours.weight[0])
            stock.bias.data.copy_(ours.bias[0])
    columns, buffer = learner.replay.columns, model.replay_buffer
    for episode in range(6):
        before = np.concatenate([[-1], columns["action"][episode, :, 0]])
        obs = seen(columns["obs"][episode, :, 0], before.astype(int), 5)
        for t in range(25):
            reward = setting.reward_scale * columns["reward"][episode, t]
            cut = [{"TimeLimit.truncated": t == 24}]
            buffer.add(obs[t][None], obs[t + 1][None], columns["action"][episode, t][None], reward, np.array([t == 24]), cut)
    every = buffer._get_samples(np.arange(150))
    buffer.sample = lambda *_, **__: every
    model._setup_learn(1)
    model.train(1, 150)
    for ours, stock in zip(layers(learner.agent), (layer for layer in model.q_net.q_net if hasattr(layer, "weight"))):
        assert ours.weight.grad is not None
        assert torch.allclose(ours.weight.grad[0], 2 * stock.weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_learning_curves_agree():
    found = compare(Setting(seeds=3))
    (end, end_error), (whole, whole_error) = gaps(found)
    worst = min(curve["return"][0] for curves in found.values() for curve in curves)
    best = max(curve["return"][-1] for curves in found.values() for curve in curves)
    assert best - worst > 15, found  # both learned something
    assert abs(end) < max(3 * end_error, 0.05 * (best - worst)), found
    assert abs(whole) < max(3 * whole_error, 0.1 * (best - worst)), found
