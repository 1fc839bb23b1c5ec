"""The network that chooses tasks for one kind of entity: a score for each candidate, and the value of a state."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from agent.tasks.candidates import CANDIDATE, CANDIDATE_SIZE, STATE_SIZE
from agent.tasks.heads import RULE, Head


class TaskNet(nn.Module):
    """Scores each candidate from its own numbers and the entity's state; the critic has its own weights. Untrained, it is the rule."""

    rule: torch.Tensor
    since: torch.Tensor

    def __init__(self, width: int = 64, rule: float = RULE) -> None:
        super().__init__()
        self.register_buffer("rule", torch.tensor(rule))
        self.register_buffer("since", torch.tensor(0))
        self.of_state = nn.Linear(STATE_SIZE, width)
        self.of_candidate = nn.Linear(CANDIDATE_SIZE, width, bias=False)
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.score.weight)
        wide = 2 * width
        self.critic = nn.Sequential(nn.Linear(STATE_SIZE, wide), nn.Tanh(), nn.Linear(wide, wide), nn.Tanh(), nn.Linear(wide, 1))

    def forward(self, state: torch.Tensor, candidates: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Log-probabilities `[M, K]` of candidates `[M, K, CANDIDATE_SIZE]` of entities in `state [M, STATE_SIZE]`; `mask [M, K]`."""
        hidden = torch.relu(self.of_state(state)[:, None] + self.of_candidate(candidates))
        scores = self.score(torch.relu(self.hidden(hidden)))[..., 0] + self.rule * candidates[..., CANDIDATE.rule]
        return scores.masked_fill(~mask, -1e9).log_softmax(1)

    def value(self, state: torch.Tensor) -> torch.Tensor:
        """The outcome `[M]` that is expected of the entities' factories."""
        return self.critic(state)[:, 0]

    def actor_parameters(self) -> list[nn.Parameter]:
        """All but the critic's."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("critic")]

    def head(self, bare: bool = False, temperature: float = 0.0) -> Head:
        """The weights that choose, for play; `temperature` as of `Head`."""
        first = [self.of_state.weight.T, self.of_state.bias, self.of_candidate.weight.T]
        weights = [*first, self.hidden.weight.T, self.hidden.bias, self.score.weight[0]]
        arrays = [weight.detach().numpy().copy() for weight in weights]
        numbers = {"bare": bare, "rule": float(self.rule), "temperature": temperature, "since": int(self.since)}
        return Head(*arrays, **{name: np.array(number, np.float32) for name, number in numbers.items()})
