"""A teacher's pull on PPO: `coef * KL(teacher || policy)` beside the loss, the coefficient falling to 0 in the course of training.

It keeps a policy that began as an imitation near its teacher until its own rewards can lead it (kickstarting, Schmitt et
al. 2018, arXiv:1803.03835).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from agent.batch import Batch
from agent.heads import FACTORS, Distribution
from agent.policy import Policy
from agent.stored import load_agent
from training.config import PPOConfig

Guide = Callable[[Batch, Distribution, Tensor, float], tuple[Tensor, dict[str, Tensor]]]
_SHARED = ("entity", "factory", "planes", "plane_size", "scalars")  # the sizes in which two policies must see alike


def coefficient(coef: float, share: float, progress: float) -> float:
    """`coef` at progress 0, linearly down to 0 at progress `share`, and 0 from there on."""
    return coef * max(0.0, 1.0 - progress / share)


def kl_to_policy(teacher: Distribution, policy: Distribution, action: Tensor) -> Tensor:
    """KL(teacher || policy) of every row `[M]`, over the policy's legal choices: exact in each factor, the factors after the
    kind given what was chosen before them in `action [M, 4]` (as the entropy is)."""
    kl = torch.zeros(action.shape[0], device=action.device)
    for index in range(FACTORS):
        if not policy.free[index]:
            continue
        rows = policy.choosers(index, action)
        logits, legal = policy.factor(index, action)
        theirs, _ = teacher.factor(index, action)
        log_p, log_q = (F.log_softmax(x.masked_fill(~legal, float("-inf")), -1)[rows] for x in (theirs, logits))
        apart = (log_p - log_q).masked_fill(~legal[rows], 0.0)
        kl = kl.index_add(0, rows, (log_p.exp() * apart).sum(-1))
    return kl


def load_guide(ppo: PPOConfig, policy: Policy, device: torch.device) -> Guide | None:
    """The term of `ppo.teacher`, or None without one: `guide(batch, distribution, action, progress)` is a loss and its metrics.

    Raises `CheckpointError` (a `ValueError`), or `ValueError` for a teacher that sees other observations.
    """
    if ppo.teacher is None or ppo.teacher_coef == 0:
        return None
    teacher = load_agent(ppo.teacher)[0].policy.to(device).requires_grad_(False)
    if teacher.config.features not in ((), policy.config.features):
        raise ValueError(f"Teacher {ppo.teacher} has the features {teacher.config.features}; this run's are {policy.config.features}.")
    for name in _SHARED:
        if teacher.sizes[name] != policy.sizes[name]:
            raise ValueError(f"Teacher {ppo.teacher} sees {name} of size {teacher.sizes[name]}; this run's is {policy.sizes[name]}.")

    def guide(batch: Batch, distribution: Distribution, action: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        weight = coefficient(ppo.teacher_coef, ppo.teacher_share, progress)
        if weight == 0:
            nothing = torch.zeros((), device=device)
            return nothing, {"losses/teacher_coef": nothing}
        with torch.no_grad():
            theirs = policy.distribution(teacher(batch).logits, batch.mask)
        kl = kl_to_policy(theirs, distribution, action).mean()
        return weight * kl, {"losses/teacher_kl": kl.detach(), "losses/teacher_coef": torch.tensor(weight, device=device)}

    return guide
