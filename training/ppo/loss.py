"""The PPO loss over active (step, group) pairs, as pure functions.

Schulman et al. 2017 (arXiv:1707.06347) with the clipped value loss of the reference implementation. What comes in
has one entry a pair, already summed over the pair's entities (`switchboard.collect_part`); inactive pairs have no entry,
so a mean is a mean over what acted.
"""

from __future__ import annotations

import torch


def ppo_loss(
    new_log_prob: torch.Tensor,
    old_log_prob: torch.Tensor,
    advantage: torch.Tensor,
    new_value: torch.Tensor,
    old_value: torch.Tensor,
    returns: torch.Tensor,
    entropy: torch.Tensor,
    clip_coef: float,
    clip_value_loss: bool,
    vf_coef: float,
    ent_coef: float,
    chooses: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss of a minibatch of K active pairs, all tensors `[K]`; and its metrics as detached scalars.

    Entropy, KL and clip fraction among the metrics are means over the pairs that had a choice, `chooses` (bool;
    default: all): the others cannot move.

    `loss = policy_loss - ent_coef * entropy + vf_coef * value_loss`. Raises `ValueError` for unequal shapes or K = 0.
    """
    count = check_shapes(
        new_log_prob=new_log_prob,
        old_log_prob=old_log_prob,
        advantage=advantage,
        new_value=new_value,
        old_value=old_value,
        returns=returns,
        entropy=entropy,
        chooses=(chooses := torch.ones_like(entropy) if chooses is None else chooses),
    )
    if count == 0:
        raise ValueError("The minibatch has no active group; a loss needs at least one.")
    log_ratio = new_log_prob - old_log_prob
    ratio = log_ratio.exp()
    policy = policy_loss(ratio, advantage, clip_coef)
    value = value_loss(new_value, old_value, returns, clip_coef if clip_value_loss else None)
    loss = policy - ent_coef * entropy.mean() + vf_coef * value
    with torch.no_grad():
        share = chooses / chooses.sum().clamp(min=1)  # of each pair in a mean over those that choose
        metrics = {
            "losses/policy_loss": policy.detach(),
            "losses/value_loss": value.detach(),
            "losses/entropy": (entropy * share).sum(),
            "losses/old_approx_kl": -(log_ratio * share).sum(),
            "losses/approx_kl": ((torch.expm1(log_ratio) - log_ratio) * share).sum(),  # k3 (Schulman): unbiased, never negative
            "losses/clipfrac": (((ratio - 1.0).abs() > clip_coef) * share).sum(),
        }
    return loss, metrics


def policy_loss(ratio: torch.Tensor, advantage: torch.Tensor, clip_coef: float) -> torch.Tensor:
    """The clipped surrogate, to be minimised: mean over `[K]` of the worse of the plain and the clipped term."""
    clipped = ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef)
    return torch.maximum(-advantage * ratio, -advantage * clipped).mean()


def value_loss(new_value: torch.Tensor, old_value: torch.Tensor, returns: torch.Tensor, clip_coef: float | None) -> torch.Tensor:
    """Half the mean squared error `[K]`; with `clip_coef`, of the worse of the value and the value kept near the old one."""
    squared = (new_value - returns) ** 2
    if clip_coef is not None:
        kept_near = old_value + (new_value - old_value).clamp(-clip_coef, clip_coef)
        squared = torch.maximum(squared, (kept_near - returns) ** 2)
    return 0.5 * squared.mean()


def explained_variance(value: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """Share of the returns' variance that the value explains (`losses/explained_variance`): 1 perfect, 0 a constant; nan if
    the returns do not vary. Both `[K]`, active pairs only."""
    check_shapes(value=value, returns=returns)
    variance = returns.var(unbiased=False)
    return torch.where(variance > 0, 1.0 - (returns - value).var(unbiased=False) / variance, torch.full_like(variance, torch.nan))


def check_shapes(**tensors: torch.Tensor) -> int:
    """The common length of one-dimensional tensors; `ValueError` names the first that differs."""
    length: int | None = None
    for name, tensor in tensors.items():
        if tensor.dim() != 1 or (length is not None and tensor.shape[0] != length):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected is [{'K' if length is None else length}].")
        length = tensor.shape[0]
    assert length is not None
    return length
