"""Laws of the policy and its masked factored distributions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from agent.backbones.communication import CommunicationConfig
from agent.extractor import HybridExtractor
from agent.heads import FACTORS, LOGITS, Distribution, unpack_mask
from agent.layers import tanh
from agent.opening import opening
from agent.policy import Policy, PolicyConfig, policy_sizes
from engine.config import GameConfig
from engine.maps import MapPool
from wrappers.action import (
    DIG,
    DIRECTIONS,
    LEVELS,
    MOVE,
    MOVE_BIT,
    PICKUP,
    PICKUP_BIT,
    RESOURCES,
    TRANSFER,
    TRANSFER_BIT,
    WAIT,
    ActionConfig,
)
from wrappers.observation import Observation, observe
from wrappers.vec_env import VecEnv

torch.set_num_threads(1)


def random_masks(count: int, generator: np.random.Generator) -> np.ndarray:
    """Masks of robots as the wrappers make them: a kind is legal exactly if something it can do is."""
    masks = np.zeros(count, np.int64)
    for i in range(count):
        mask = 1 << WAIT
        for kind, first, bits in (
            (MOVE, MOVE_BIT, DIRECTIONS),
            (TRANSFER, TRANSFER_BIT, DIRECTIONS * RESOURCES),
            (PICKUP, PICKUP_BIT, RESOURCES),
        ):
            chosen = int(generator.integers(0, 1 << bits)) if generator.random() < 0.7 else 0
            if chosen:
                mask |= chosen << first | 1 << kind
        if generator.random() < 0.5:
            mask |= 1 << DIG
        masks[i] = mask
    return masks


def legal_actions(mask: int, amounts: list[bool]) -> list[tuple[int, int, int, int]]:
    """Every action that a mask allows, by the contract of the bits."""
    levels = [level for level in range(LEVELS) if amounts[level]]
    found = []
    for kind in range(10):
        if not mask >> kind & 1:
            continue
        if kind == MOVE:
            found += [(kind, d, 0, 0) for d in range(DIRECTIONS) if mask >> (MOVE_BIT + d) & 1]
        elif kind == TRANSFER:
            pairs = itertools.product(range(DIRECTIONS), range(RESOURCES))
            found += [(kind, d, r, a) for d, r in pairs if mask >> (TRANSFER_BIT + d * RESOURCES + r) & 1 for a in levels]
        elif kind == PICKUP:
            found += [(kind, 0, r, a) for r in range(RESOURCES) if mask >> (PICKUP_BIT + r) & 1 for a in levels]
        else:
            found.append((kind, 0, 0, 0))
    return found


@pytest.mark.parametrize("amounts", [[True, True, True], [False, False, True]])
def test_probabilities_of_the_legal_actions_sum_to_one(amounts):
    generator = np.random.default_rng(0)
    masks = random_masks(40, generator)
    logits = torch.randn(1, LOGITS) * 2
    for mask in masks:
        actions = legal_actions(int(mask), amounts)
        rows = len(actions)
        distribution = Distribution(logits.expand(rows, -1), torch.full((rows,), int(mask)), torch.tensor(amounts))
        log_prob = distribution.evaluate(torch.tensor(actions)).log_prob
        assert torch.isfinite(log_prob).all()
        assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_samples_are_legal_and_their_log_prob_is_the_evaluated_one():
    generator = np.random.default_rng(1)
    masks = random_masks(400, generator)
    distribution = Distribution(torch.randn(400, LOGITS), torch.from_numpy(masks), torch.tensor([True, False, True]))
    action, log_prob = distribution.sample(torch.Generator().manual_seed(0))
    assert action.shape == (400, FACTORS)
    for mask, chosen in zip(masks, action.tolist()):
        assert tuple(chosen) in legal_actions(int(mask), [True, False, True])
    evaluated = distribution.evaluate(action)
    torch.testing.assert_close(evaluated.log_prob, log_prob)
    assert (evaluated.entropy >= -1e-6).all()


def test_sampling_follows_the_probabilities():
    mask = random_masks(60, np.random.default_rng(2))[7]
    logits = torch.randn(1, LOGITS)
    actions = legal_actions(int(mask), [True, True, True])
    table = Distribution(logits.expand(len(actions), -1), torch.full((len(actions),), int(mask)), torch.ones(3, dtype=torch.bool))
    expected = table.evaluate(torch.tensor(actions)).log_prob.exp().numpy()
    draws = 40_000
    many = Distribution(logits.expand(draws, -1), torch.full((draws,), int(mask)), torch.ones(3, dtype=torch.bool))
    sampled, _ = many.sample(torch.Generator().manual_seed(3))
    place = {action: k for k, action in enumerate(actions)}
    counts = np.bincount([place[tuple(row)] for row in sampled.tolist()], minlength=len(actions))
    deviation = np.sqrt(expected * (1 - expected) / draws)
    assert (np.abs(counts / draws - expected) < 5 * deviation + 1e-3).all()


def test_a_uniform_policy_over_kinds_has_the_entropy_of_their_number():
    mask = 1 << WAIT | 1 << DIG
    distribution = Distribution(torch.zeros(1, LOGITS), torch.tensor([mask]), torch.ones(3, dtype=torch.bool))
    evaluated = distribution.evaluate(torch.tensor([[DIG, 0, 0, 0]]))
    assert evaluated.entropy.item() == pytest.approx(math.log(2), abs=1e-6)
    assert evaluated.log_prob.item() == pytest.approx(-math.log(2), abs=1e-6)


def test_a_single_legal_action_has_no_entropy_and_no_gradient():
    logits = torch.randn(1, LOGITS, requires_grad=True)
    evaluated = Distribution(logits, torch.tensor([1 << WAIT]), torch.ones(3, dtype=torch.bool)).evaluate(
        torch.zeros(1, 4, dtype=torch.long)
    )
    (evaluated.log_prob + evaluated.entropy).sum().backward()
    assert evaluated.entropy.item() == 0.0 and evaluated.log_prob.item() == 0.0
    assert logits.grad is not None and torch.count_nonzero(logits.grad) == 0


def test_mask_bits_unpack_in_order():
    bits = unpack_mask(torch.tensor([1, 1 << TRANSFER_BIT, (1 << 45) - 1]))
    assert bits[0].nonzero().flatten().tolist() == [0]
    assert bits[1].nonzero().flatten().tolist() == [TRANSFER_BIT]
    assert bits[2].all()


def test_tanh_and_its_gradient_are_those_of_the_function():
    x = torch.linspace(-12, 12, 10_001, requires_grad=True)
    exact = x.detach().double().tanh()
    y = tanh(x)
    assert (y - exact).abs().max() < 3e-7
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert (slope - (1 - exact.square())).abs().max() < 6e-7
    assert tanh(torch.tensor([-math.inf, 0.0, math.inf])).tolist() == [-1, 0, 1]
    narrow = x.detach().bfloat16()
    assert torch.equal(tanh(narrow), narrow.tanh())


def test_the_map_is_arranged_in_patches_of_patches():
    channels, size = 3, 8
    extractor = HybridExtractor(channels, size, 1, 4, 4, 8, 2)
    planes = torch.rand(2, channels, size, size)
    found = extractor.arrange(planes).view(2, 4, 4, 4, channels)  # side, large patch, small patch in it, cell in that, channel
    for side, x, y, channel in itertools.product(range(2), range(size), range(size), range(channels)):
        large, small, cell = x // 4 * 2 + y // 4, x // 2 % 2 * 2 + y // 2 % 2, x % 2 * 2 + y % 2
        assert found[side, large, small, cell, channel] == planes[side, channel, x, y]


@pytest.fixture(scope="module")
def env() -> VecEnv:
    """Four games some turns into random play, with lights and heavies on the map."""
    config = GameConfig.for_map_size(48)
    env = VecEnv(config, 4, MapPool(config, range(4)), opening, actions=ActionConfig.full())
    env.reset()
    policy = Policy(PolicyConfig(), policy_sizes(ActionConfig.full()))
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        env.step(policy.act(env.obs, generator))
        env.reset_done()
    return env


@pytest.mark.parametrize("extractor", ["hybrid", "pixel"])
def test_default_policy_is_small_and_decides_for_every_row(env, extractor):
    config = PolicyConfig(extractor=extractor)
    policy = Policy(config, policy_sizes(ActionConfig.full(), config))
    if extractor == "pixel":
        observation = Observation(env.obs.sides, 48)
        observe(env.games, env.rules, env.action_rules, env.static, observation)
        assert observation.planes.shape[2:] == (48, 48)
    else:
        observation = env.obs
    assert sum(p.numel() for p in policy.parameters()) <= 200_000
    logits, value, _ = policy(policy.batch(observation))
    assert logits.shape == (env.obs.rows, LOGITS) and value.shape == (env.obs.rows,)
    assert torch.isfinite(logits).all() and torch.isfinite(value).all()


def test_a_side_decides_alike_alone_and_in_a_batch(env):
    """A row's output depends on its own side only, whatever else is in the batch."""
    policy = Policy(PolicyConfig(), policy_sizes(ActionConfig.full()))
    batch = policy.batch(env.obs)
    logits, value, _ = policy(batch)
    rows = (batch.side == 3).nonzero()[:, 0]
    alone = batch._replace(
        **{name: getattr(batch, name)[rows] for name in ("feature", "slot", "kind", "home", "block", "mask")},
        side=torch.zeros(len(rows), dtype=torch.long),
        robots=(batch.kind[rows] > 0).nonzero()[:, 0],
        factories=(batch.kind[rows] == 0).nonzero()[:, 0],
        planes=batch.planes[3:4],
        scalar=batch.scalar[3:4],
    )
    alone_logits, alone_value, _ = policy(alone)
    torch.testing.assert_close(alone_logits, logits[rows], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone_value, value[rows], atol=1e-5, rtol=1e-4)


def test_config_round_trip_builds_the_same_function(env):
    policy = Policy(PolicyConfig(width=32, channels=8), policy_sizes(ActionConfig.full()))
    again = Policy.from_config(policy.full_config())
    again.load_state_dict(policy.state_dict())
    for mine, theirs in zip(policy(policy.batch(env.obs))[:2], again(again.batch(env.obs))[:2]):
        torch.testing.assert_close(mine, theirs, atol=0, rtol=0)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="extractor is 'x'; accepted are hybrid, pixel"):
        PolicyConfig(extractor="x")
    with pytest.raises(ValueError, match="backbone is 'x'"):
        PolicyConfig(backbone="x")
    with pytest.raises(ValueError, match="communication.kinds is 2; it must be at least 3"):
        PolicyConfig(communication=CommunicationConfig(kinds=2))
