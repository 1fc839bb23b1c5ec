"""Masked factored action distributions: kind, then direction, resource and amount, each given what was chosen before.

An illegal choice has probability exactly 0. Log-prob and entropy are over what is legal; a factor that the chosen kind
does not use has one legal choice, index 0, and so adds nothing. The entropy is that of the kind plus those of the later
factors given what was chosen (the chain rule's terms along the sampled path).
"""

from __future__ import annotations

from typing import Any, NamedTuple

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

FACTORS = 4
KIND, DIRECTION, RESOURCE, AMOUNT = range(FACTORS)


class Heads(NamedTuple):
    """Something of each head, in the order of their logits. Transfers have heads of their own for what comes after the kind."""

    kind: Any
    move: Any  # its direction
    transfer: Any  # its direction
    transfer_resource: Any
    pickup_resource: Any
    transfer_amount: Any
    amount: Any  # of a pickup or recharge


WIDTHS = Heads(KINDS, DIRECTIONS, DIRECTIONS, RESOURCES, RESOURCES, LEVELS, LEVELS)
LOGITS = sum(WIDTHS)
STARTS = Heads(*(sum(WIDTHS[:k]) for k in range(len(WIDTHS))))  # where a head's logits begin


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


def advised_logits(columns: Tensor) -> Tensor:
    """[M, LOGITS], 1 at the logits that an advised action needs: `columns [M, 5]` as `wrappers.advice` writes them."""
    action, given = columns[:, :FACTORS].long(), columns[:, FACTORS]
    kind = action[:, KIND]
    hot = torch.zeros(len(columns), LOGITS, device=columns.device)
    hot.scatter_(1, kind[:, None], given[:, None])
    for index, of_transfer, of_others in (
        (DIRECTION, STARTS.transfer, STARTS.move),
        (RESOURCE, STARTS.transfer_resource, STARTS.pickup_resource),
        (AMOUNT, STARTS.transfer_amount, STARTS.amount),
    ):
        start = torch.where(kind == TRANSFER, of_transfer, of_others)
        used = given * _uses(index, kind)
        hot.scatter_add_(1, (start + action[:, index])[:, None], used[:, None])
    return hot


def unpack_mask(mask: Tensor, first: int = 0, count: int = MASK_BITS) -> Tensor:
    """[M] int64 bits to [M, count] bool, from bit `first` on."""
    bits = torch.arange(first, first + count, device=mask.device)
    return (mask[:, None] >> bits) & 1 > 0


def _masked_log_softmax(logits: Tensor, legal: Tensor) -> Tensor:
    return F.log_softmax(logits.masked_fill(~legal, float("-inf")), dim=-1)


def _uses(index: int, kind: Tensor) -> Tensor:
    """[M] bool, whether the chosen kinds [M] have a DIRECTION, a RESOURCE or an AMOUNT."""
    used = kind == TRANSFER
    if index == DIRECTION:
        return used | (kind == MOVE)
    used = used | (kind == PICKUP)
    return used | (kind == RECHARGE) if index == AMOUNT else used


def _entropy(log_p: Tensor, legal: Tensor) -> Tensor:
    return -(log_p.exp() * log_p.masked_fill(~legal, 0.0)).sum(-1)


class Distribution:
    """The policy's choice for M rows.

    Args:
        logits: [M, LOGITS].
        mask: [M] int64, legal actions as bits.
        amounts: [LEVELS] bool, the amounts on offer.
        free: whether each factor ever has more than one legal choice; one that has not costs nothing.
        greedy: `sample` always takes the best.
    """

    def __init__(self, logits: Tensor, mask: Tensor, amounts: Tensor, free: tuple = (True,) * FACTORS, greedy: bool = False):
        self.logits = logits.float()
        self.mask = mask
        self.amounts = amounts
        self.free = free
        self.greedy = greedy

    def factor(self, index: int, action: Tensor) -> tuple:
        """Logits [M, n] and legality [M, n] of factor `index`, given the factors before it in `action [M, 4]`."""
        heads = Heads(*self.logits.split(WIDTHS, dim=-1))
        if index == KIND:
            return heads.kind, unpack_mask(self.mask, 0, KINDS)
        is_transfer = (action[:, KIND] == TRANSFER)[:, None]
        if index == DIRECTION:
            logits = torch.where(is_transfer, heads.transfer, heads.move)
            allowed = torch.where(is_transfer, self.transferable().any(-1), unpack_mask(self.mask, MOVE_BIT, DIRECTIONS))
        elif index == RESOURCE:
            chosen = self.transferable().gather(1, action[:, DIRECTION, None, None].expand(-1, 1, RESOURCES))[:, 0]
            logits = torch.where(is_transfer, heads.transfer_resource, heads.pickup_resource)
            allowed = torch.where(is_transfer, chosen, unpack_mask(self.mask, PICKUP_BIT, RESOURCES))
        else:
            logits = torch.where(is_transfer, heads.transfer_amount, heads.amount)
            allowed = self.amounts.expand(logits.shape)
        first = torch.arange(logits.shape[1], device=logits.device) == 0
        return logits, torch.where(_uses(index, action[:, KIND])[:, None], allowed, first)

    def transferable(self) -> Tensor:
        """[M, DIRECTIONS, RESOURCES] bool."""
        return unpack_mask(self.mask, TRANSFER_BIT, DIRECTIONS * RESOURCES).view(-1, DIRECTIONS, RESOURCES)

    def choosers(self, index: int, action: Tensor) -> Tensor:
        """[r] int64, the rows that have a choice in factor `index`; to the others it adds exactly nothing."""
        return (self.chooses() if index == KIND else _uses(index, action[:, KIND])).nonzero()[:, 0]

    def chooses(self) -> Tensor:
        """[M] bool, the rows that may do more than one thing."""
        kinds = self.mask & (1 << KINDS) - 1
        return (kinds & kinds - 1) != 0  # more than one bit

    def sample(self, generator: torch.Generator | None = None, greedy: bool = False) -> tuple:
        """Actions [M, 4] int64 and their log-probs [M]."""
        rows = self.logits.shape[0]
        device = self.logits.device
        action = torch.zeros(rows, FACTORS, dtype=torch.long, device=device)
        log_prob = torch.zeros(rows, device=device)
        for index in range(FACTORS):
            logits, allowed = self.factor(index, action)
            if not self.free[index]:
                action[:, index] = allowed.int().argmax(-1)
                continue
            log_p = _masked_log_softmax(logits, allowed)
            score = log_p
            if not (greedy or self.greedy):
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
            rows = self.choosers(index, action)
            part = Distribution(self.logits.index_select(0, rows), self.mask[rows], self.amounts)
            chosen = action[rows]
            logits, allowed = part.factor(index, chosen)
            log_p = _masked_log_softmax(logits, allowed)
            log_prob = log_prob.index_add(0, rows, log_p.gather(1, chosen[:, index, None])[:, 0])
            entropy = entropy.index_add(0, rows, _entropy(log_p, allowed))
        return ActionTerms(log_prob, entropy)
