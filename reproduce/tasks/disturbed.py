"""What may be wrong with the observations of a trained policy: noise, a bias, missing numbers, an adversary.

A disturbance changes observations on their way to the policy; it is given to `Learner.evaluate`. The random numbers it
draws are the evaluation's own, so that policies are compared on the same ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# (policy, observations [M, D], legal actions [M, A], random numbers) -> observations [M, D]
Disturbance = Callable[[torch.nn.Module, Tensor, Tensor, torch.Generator], Tensor]


def gaussian(deviation: float) -> Disturbance:
    """Normal noise, drawn anew for every number of every step."""

    def disturb(policy: torch.nn.Module, feature: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        return feature + deviation * torch.randn(feature.shape, generator=random)

    return disturb


def bias(size: float) -> Disturbance:
    """Every sensor is off by `size`, always the same way: a sign for each column, drawn from the columns' number alone."""

    def disturb(policy: torch.nn.Module, feature: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        signs = torch.randint(0, 2, (feature.shape[1],), generator=torch.Generator().manual_seed(feature.shape[1]))
        return feature + size * (2.0 * signs - 1.0)

    return disturb


def missing(share: float) -> Disturbance:
    """Each number is 0 with this probability."""

    def disturb(policy: torch.nn.Module, feature: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        return feature * (torch.rand(feature.shape, generator=random) >= share)

    return disturb


def adversary(size: float) -> Disturbance:
    """Every number moves by `size` the way that makes the policy's best action less likely (fast gradient sign, Goodfellow et al. 2015)."""

    def disturb(policy: torch.nn.Module, feature: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        with torch.enable_grad():
            seen = feature.clone().requires_grad_()
            best = policy(seen, mask).logits.log_softmax(-1).amax(-1)
            (gradient,) = torch.autograd.grad(best.sum(), seen)
        return feature - size * gradient.sign()

    return disturb
