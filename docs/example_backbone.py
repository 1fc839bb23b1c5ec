"""Train any backbone on a task that is not the game, with nothing but `agent.backbones` and torch.

    python docs/example_backbone.py --backbone bun

The task is blind-particle spread: 6 agents of 3 hidden colours, each to go to its own colour's landmark. A net that all
share (dense) can only go where it is nearest to all landmarks; the others can tell agents apart, each in its own way.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from anywhere

from agent.backbones import Backbone, Entities, Experience
from agent.backbones.adaps import AdapsBackbone, AdapsConfig
from agent.backbones.bun import BUNBackbone, BUNConfig
from agent.backbones.communication import CommunicationBackbone, CommunicationConfig
from agent.backbones.dense import DenseBackbone, DenseConfig
from reproduce.tasks.blind_particles import BlindParticles, BlindParticlesConfig

AGENTS, WIDTH, GAMMA, CLIP = 6, 32, 0.9, 0.2
SCALE = 0.2  # of rewards, so that returns are about 1
# Who is who is the settings' matter: here every agent is a seat of its own.
BACKBONES = {
    "dense": lambda: DenseBackbone(WIDTH, DenseConfig(layers=2)),
    "bun": lambda: BUNBackbone(WIDTH, BUNConfig(agents="slots", seats=AGENTS)),
    "communication": lambda: CommunicationBackbone(WIDTH, CommunicationConfig(sharing="slot", slots=AGENTS, kinds=1)),
    "adaps": lambda: AdapsBackbone(WIDTH, AdapsConfig(key="slot", slots=AGENTS, layers=2, samples=20_000, warmup=0.15)),
}


class Policy(nn.Module):
    """Observation -> backbone -> logits of the actions and a value, for every agent of every environment: M rows."""

    def __init__(self, backbone: Backbone, features: int, actions: int):
        super().__init__()
        self.enter, self.backbone = nn.Linear(features, WIDTH), backbone
        self.actor, self.critic = nn.Linear(WIDTH, actions), nn.Linear(WIDTH, 1)

    def forward(self, feature: Tensor, stored: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """[M, D] -> logits [M, A], values [M], and what the backbone must be given again when learning."""
        teams = len(feature) // AGENTS
        side, slot = torch.arange(teams).repeat_interleave(AGENTS), torch.arange(AGENTS).repeat(teams)
        entities = Entities(side, slot, kind=torch.zeros_like(slot), group=slot, sides=teams)
        hidden, fields = self.backbone(self.enter(feature).tanh(), entities, stored)
        return self.actor(hidden), self.critic(hidden)[:, 0], fields


def collect(task: BlindParticles, policy: Policy) -> dict[str, Tensor]:
    """One whole episode of all environments, as rows [T, E * N, ...] by time, environment, agent."""
    task.restart(np.ones(task.envs, np.bool_))
    steps: list[dict[str, Tensor]] = []
    for _ in range(task.horizon):
        feature = torch.from_numpy(task.observe()).flatten(0, 1)
        with torch.no_grad():
            logits, value, fields = policy(feature)
        choice = torch.distributions.Categorical(logits=logits)
        action = choice.sample()
        reward = torch.from_numpy(task.step(action.view(task.envs, AGENTS).numpy()).reward).flatten()
        row = {"feature": feature, "action": action, "log_prob": choice.log_prob(action), "value": value, "reward": SCALE * reward}
        steps.append({**row, **{f"field {name}": column for name, column in fields.items()}})
    rows = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
    rows["returns"] = rows["reward"].clone()  # every agent has a return of its own
    for t in reversed(range(task.horizon - 1)):
        rows["returns"][t] += GAMMA * rows["returns"][t + 1]
    return rows


def learn(policy: Policy, optimizer: torch.optim.Optimizer, rows: dict[str, Tensor]) -> None:
    """PPO: a few epochs of minibatches. A minibatch is whole turns, so that teams stay together."""
    for _ in range(4):
        for turns in torch.randperm(len(rows["reward"])).chunk(4):
            part = {name: column[turns].flatten(0, 1) for name, column in rows.items()}
            stored = {name.removeprefix("field "): column for name, column in part.items() if name.startswith("field ")}
            logits, value, _ = policy(part["feature"], stored)
            choice = torch.distributions.Categorical(logits=logits)
            advantage = part["returns"] - part["value"]
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            ratio = (choice.log_prob(part["action"]) - part["log_prob"]).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
            loss = -gain + 0.5 * (value - part["returns"]).square().mean() - 0.01 * choice.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            policy.backbone.after_backward()  # hook: after a backward pass
            optimizer.step()


def experience(rows: dict[str, Tensor]) -> Experience:
    """The rollout for a backbone that asks for it: who saw, did and got what, and which row is the same agent's next."""
    steps, count = rows["reward"].shape
    slot = np.tile(np.arange(AGENTS), steps * count // AGENTS)
    following = np.append(np.arange(count, steps * count), np.full(count, -1))
    flat = {name: column.flatten(0, 1).numpy() for name, column in rows.items()}
    return Experience(flat["feature"], np.zeros_like(slot), slot, slot, flat["action"][:, None], flat["reward"], following)


def train(name: str, iterations: int, seed: int) -> float:
    """Train one backbone, print its way, and return the mean return of the last episodes."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    task = BlindParticles(16, seed, BlindParticlesConfig(group_size=2, colours=3))
    policy = Policy(BACKBONES[name](), task.features, task.actions)
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=2e-3)
    score = 0.0
    for iteration in range(iterations):
        rows = collect(task, policy)
        learn(policy, optimizer, rows)
        # hook: between iterations; here BUN grows and AdaPS clusters
        policy.backbone.between_iterations((iteration + 1) / iterations, optimizer, lambda rows=rows: experience(rows))
        score = float(rows["reward"].sum(0).mean()) / SCALE
        if iteration % max(iterations // 10, 1) == 0 or iteration == iterations - 1:
            print(f"{name}: iteration {iteration + 1} of {iterations}, return {score:.1f}")
    print(", ".join(f"{key} {value:g}" for key, value in policy.backbone.stats().items()))
    return score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=sorted(BACKBONES), default="bun")
    parser.add_argument("--iterations", type=int, default=100, help="rollouts of 16 episodes to learn from")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    train(arguments.backbone, arguments.iterations, arguments.seed)
