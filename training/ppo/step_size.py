"""Step sizes that look at how far an update moves the policy, measured as `approx_kl` (KL of the new policy from the one that acted).

Two options of `PPOConfig`, both off by default: `target_kl` ends the passes over a rollout early, `desired_kl` adapts the
learning rate from iteration to iteration. All ranks decide alike, by the mean of their numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.config import PPOConfig
from training.run import parallel

SLACK = 1.5  # times target_kl at which the passes end
FACTOR = 1.5  # by which the learning rate changes
LOWEST, HIGHEST = 1e-5, 1e-2  # learning rates that adapting keeps within


def passes_end(ppo: PPOConfig, approx_kl: Tensor) -> bool:
    """Whether this minibatch, which has not been learned from yet, shows that the policy has moved far enough.

    Early stopping as in OpenAI's Spinning Up and stable-baselines3: `approx_kl > 1.5 * target_kl`.
    """
    return ppo.target_kl is not None and everywhere(float(approx_kl)) > SLACK * ppo.target_kl


def adapted(learning_rate: float, desired_kl: float, approx_kl: float) -> float:
    """The next iteration's learning rate: a third less where KL was above twice what is desired, a half more where below half of it.

    Rudin et al. 2022 (arXiv:2109.11978), and rsl_rl; after the adaptive coefficient of Schulman et al. 2017 (section 4).
    """
    if approx_kl > 2.0 * desired_kl:
        return max(min(LOWEST, learning_rate), learning_rate / FACTOR)
    if approx_kl < desired_kl / 2.0:
        return min(max(HIGHEST, learning_rate), learning_rate * FACTOR)
    return learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, ppo: PPOConfig, progress: float) -> None:
    """Before an iteration: lowered linearly to 0 with `anneal_learning_rate`, else, or with `desired_kl`, as it is."""
    if ppo.anneal_learning_rate and ppo.desired_kl is None:
        for group in optimizer.param_groups:
            group["lr"] = ppo.learning_rate * max(0.0, 1.0 - progress)


def adapt(optimizer: torch.optim.Optimizer, ppo: PPOConfig, approx_kl: float) -> None:
    """After an iteration, with `desired_kl`."""
    if ppo.desired_kl is not None:
        mean = everywhere(approx_kl)
        for group in optimizer.param_groups:
            group["lr"] = adapted(group["lr"], ppo.desired_kl, mean)


def everywhere(number: float) -> float:
    """Mean over the ranks."""
    return float(parallel.total(torch.tensor([number], dtype=torch.float64))[0]) / parallel.size()
