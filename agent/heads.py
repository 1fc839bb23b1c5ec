"""Masked factored action distributions: kind, then direction, resource and amount, each given what was chosen before.

An illegal choice has probability exactly 0. Log-prob and entropy are over what is legal; a factor that the chosen kind
does not use has one legal choice, index 0, and so adds nothing. The entropy is that of the kind plus those of the later
factors given what was chosen (the chain rule's terms along the sampled path).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from agent.layers import linear
from wrappers.action import (
    DIRECTIONS,
    KINDS,
    LEVELS,
    MASK_BITS,
    MOVE,
    MOVE_BIT,
    PICKUP,
    PICKUP_BIT,
    RECHARGE,
    RESOURCES,
    TRANSFER,
    TRANSFER_BIT,
)

FACTORS = 4  # kind, direction, resource, amount
# where each head's logits lie
_WIDTHS = (KINDS, DIRECTIONS, DIRECTIONS, RESOURCES, RESOURCES, LEVELS, LEVELS)
LOGITS = sum(_WIDTHS)


class ActionTerms(NamedTuple):
    """Of given actions, a row each."""

    log_prob: Tensor  # [M]
    entropy: Tensor  # [M]


class ActionHeads(nn.Module):
    """Entity features to logits; small initial gain, so that the first policy is uniform over what is legal."""

    def __init__(self, width: int, gain: float = 0.01):
        super().__init__()
        self.linear = linear(width, LOGITS, gain)

    def forward(self, feature: Tensor) -> Tensor:
        return self.linear(feature)


def unpack_mask(mask: Tensor) -> Tensor:
    """[M] int64 bits to [M, MASK_BITS] bool."""
    bits = torch.arange(MASK_BITS, device=mask.device)
    return (mask[:, None] >> bits) & 1 > 0


def _masked_log_softmax(logits: Tensor, legal: Tensor) -> Tensor:
    return F.log_softmax(logits.masked_fill(~legal, float("-inf")), dim=-1)


def _entropy(log_p: Tensor, legal: Tensor) -> Tensor:
    return -(log_p.exp() * log_p.masked_fill(~legal, 0.0)).sum(-1)


class Distribution:
    """The policy's choice for M rows.

    Args:
        logits: [M, LOGITS].
        mask: [M] int64, legal actions as bits.
        amounts: [LEVELS] bool, the amounts on offer.
        free: whether each factor ever has more than one legal choice; one that has not costs nothing.
    """

    def __init__(self, logits: Tensor, mask: Tensor, amounts: Tensor, free: tuple = (True,) * FACTORS):
        self.free = free
        parts = logits.float().split(_WIDTHS, dim=-1)
        self.kind_logits, self.move_logits, self.transfer_logits = parts[:3]
        self.resource_logits, self.amount_logits = parts[3:5], parts[5:7]
        self.legal = unpack_mask(mask)
        self.amounts = amounts

    def factor(self, index: int, action: Tensor) -> tuple:
        """Logits [M, n] and legality [M, n] of factor `index`, given the factors before it in `action [M, 4]`."""
        legal = self.legal
        if index == 0:
            return self.kind_logits, legal[:, :KINDS]
        moves = (action[:, 0] == MOVE)[:, None]
        transfers = (action[:, 0] == TRANSFER)[:, None]
        picks = (action[:, 0] == PICKUP)[:, None]
        by_direction = legal[:, TRANSFER_BIT : TRANSFER_BIT + DIRECTIONS * RESOURCES].view(-1, DIRECTIONS, RESOURCES)
        if index == 1:
            logits = torch.where(transfers, self.transfer_logits, self.move_logits)
            allowed = torch.where(transfers, by_direction.any(-1), legal[:, MOVE_BIT : MOVE_BIT + DIRECTIONS] & moves)
            used = moves | transfers
        elif index == 2:
            chosen = by_direction.gather(1, action[:, 1, None, None].expand(-1, 1, RESOURCES))[:, 0]
            logits = torch.where(transfers, self.resource_logits[0], self.resource_logits[1])
            allowed = torch.where(transfers, chosen, legal[:, PICKUP_BIT : PICKUP_BIT + RESOURCES] & picks)
            used = transfers | picks
        else:
            logits = torch.where(transfers, self.amount_logits[0], self.amount_logits[1])
            used = transfers | picks | (action[:, 0] == RECHARGE)[:, None]
            allowed = self.amounts & used
        first = torch.arange(logits.shape[1], device=logits.device) == 0
        return logits, torch.where(used, allowed, first)

    def sample(self, generator: torch.Generator | None = None, greedy: bool = False) -> tuple:
        """Actions [M, 4] int64 and their log-probs [M]."""
        rows = self.kind_logits.shape[0]
        device = self.kind_logits.device
        action = torch.zeros(rows, FACTORS, dtype=torch.long, device=device)
        log_prob = torch.zeros(rows, device=device)
        for index in range(FACTORS):
            logits, allowed = self.factor(index, action)
            if not self.free[index]:
                action[:, index] = allowed.int().argmax(-1)
                continue
            log_p = _masked_log_softmax(logits, allowed)
            score = log_p
            if not greedy:
                # Gumbel trick: the argmax of log p + Gumbel noise is a sample of p
                noise = torch.rand(log_p.shape, generator=generator, device=device).clamp_min(1e-20)
                score = log_p - torch.log(-torch.log(noise))
            choice = score.argmax(-1)
            action[:, index] = choice
            log_prob = log_prob + log_p.gather(1, choice[:, None])[:, 0]
        return action, log_prob

    def evaluate(self, action: Tensor) -> ActionTerms:
        """Log-prob and entropy of actions [M, 4]."""
        log_prob = torch.zeros(action.shape[0], device=action.device)
        entropy = torch.zeros_like(log_prob)
        for index in range(FACTORS):
            if not self.free[index]:
                continue
            logits, allowed = self.factor(index, action)
            log_p = _masked_log_softmax(logits, allowed)
            log_prob = log_prob + log_p.gather(1, action[:, index, None])[:, 0]
            entropy = entropy + _entropy(log_p, allowed)
        return ActionTerms(log_prob, entropy)
