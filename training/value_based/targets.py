"""What Q-learning aims at, as pure functions: maxima over legal actions, lambda-returns, and the schedule of exploration.

Soft Mellowmax and the hybrid of one-step and lambda-returns are those of MAST (arXiv:2409.19391).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def masked_max(q_values: Tensor, legal: Tensor) -> Tensor:
    """The largest of `q_values [..., A]` over `legal [..., A]` bool; 0 for an agent without a legal action, which is not there."""
    return torch.where(legal.any(-1), q_values.masked_fill(~legal, -math.inf).amax(-1), 0.0)


def greedy_action(q_values: Tensor, legal: Tensor) -> Tensor:
    """Index `[...]` of the best legal action; 0 for an agent that is not there."""
    return q_values.masked_fill(~legal, -math.inf).argmax(-1)


def soft_mellowmax(q_values: Tensor, legal: Tensor, alpha: float = 1.0, omega: float = 10.0) -> Tensor:
    """`[LSE((alpha + omega) Q) - LSE(alpha Q)] / omega` over legal actions; 0 for an agent without one.

    `LSE` is the logarithm of the sum of exponentials. With `alpha = 0` it is the mellowmax; it goes to the maximum with
    `omega`, and is never above it. Raises `ValueError` for numbers out of range.
    """
    if omega <= 0 or alpha < 0:
        raise ValueError(f"alpha is {alpha} (at least 0) and omega is {omega} (more than 0); one of them is out of range.")
    # an agent that is not there gets one legal action of value 0, so that neither value nor gradient is nan
    present = legal.any(-1, keepdim=True)
    q_values = torch.where(present, q_values, 0.0).masked_fill(~legal & present, -math.inf)
    # LSE(0 * -inf) must leave out the illegal ones too
    weight = torch.zeros_like(q_values).masked_fill(~legal & present, -math.inf) if alpha == 0.0 else alpha * q_values
    soft = (((alpha + omega) * q_values).logsumexp(-1) - weight.logsumexp(-1)) / omega
    return torch.where(present[..., 0], soft, 0.0)


def lambda_returns(reward: Tensor, value: Tensor, goes_on: Tensor, last: Tensor, gamma: float, lam: float) -> Tensor:
    """`G_t = r_t + gamma g_t [(1 - lam) V_{t+1} + lam G_{t+1}]`, and only `V_{t+1}` where step t is the last known one.

    Args:
        reward: [T, ...].
        value: [T, ...], `V_{t+1}`, the value of the state after step t.
        goes_on: [T, ...] bool or float, `g_t`: whether anything follows. 0 after an end, and for an agent that is gone.
        last: [T, ...] bool, nothing is known after this step (the episode was cut, or the piece ends).
        lam: 0 gives one-step targets.
    """
    out = torch.empty_like(reward)
    later = value[-1]
    for t in range(len(reward) - 1, -1, -1):
        following = torch.where(last[t], value[t], (1.0 - lam) * value[t] + lam * later)
        later = out[t] = reward[t] + gamma * goes_on[t] * following
    return out


def epsilon_at(step: int, start: float, end: float, steps: int) -> float:
    """Share of random actions: from `start`, linearly to `end` after `steps` environment steps, then constant."""
    return start + (end - start) * min(1.0, step / steps)
