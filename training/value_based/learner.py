"""Q-learning on the game: the policy's logits become Q-values of its entities, learned from short pieces of many games.

    play a piece, epsilon-greedy -> keep it among the last few -> a few passes over pieces of those -> now and then copy the target

The network, observations, masks, rewards and groups are those of M-PPO. An entity's Q-value is its value head plus, for each
factor of its action, how much worse the chosen logit is than the best legal one (duelling networks, arXiv:1511.06581, with the
maximum in place of the mean): so the value head is the largest Q-value, and the policy's own greedy choice is the best action.
IQL learns each group's value (`--grouping`; by default each entity's), VDN the sum over a side, QMIX a monotonic mixture of a
side's factories, light and heavy robots by the team's state. Entities come and go as rows: who is not there is in no sum.

Games have 1,000 turns, so that whole ones, as on the small tasks, would fill the memory. Targets are lambda-returns along
pieces, computed anew by the target network whenever a piece is used (Peng's Q(lambda)). Agents are feed-forward: the
observation says where everything is, and a memory would need whole games. The replay is `q.replay` pieces, about 15 MB each
with the default piece of 256 environment steps (metric `charts/replay_mb`); it is part of a checkpoint, so that a resumed
run goes on exactly.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from agent.backbones import Experience
from agent.batch import Batch
from agent.heads import FACTORS, Distribution
from agent.policy import ENTITY_KINDS, Output
from agent.stored import Agent
from training.config import TrainConfig
from training.learner import begin_with, outfit
from training.run import parallel
from training.run.metrics import summarize
from training.run.progress import Clock
from training.run.stopping import TrainingError
from training.trajectories.advantages import Targets, targets
from training.trajectories.grouping import Grouping, Part, Parts
from training.trajectories.rollout import Rollout, join
from training.trajectories.switchboard import collect_part
from training.value_based.mixers import by_seat, make_mixer
from training.value_based.targets import epsilon_at


def action_shortfall(distribution: Distribution, action: Tensor) -> Tensor:
    """`[M]`, at most 0: of actions `[M, 4]`, the sum over factors of the chosen logit less the best legal one."""
    total = torch.zeros(len(action), device=action.device)
    for index in range(FACTORS):
        if not distribution.free[index]:
            continue
        rows = distribution.choosers(index, action)
        part = Distribution(distribution.logits.index_select(0, rows), distribution.mask[rows], distribution.amounts)
        logits, legal = part.factor(index, action[rows])
        short = logits.gather(1, action[rows, index, None])[:, 0] - logits.masked_fill(~legal, -torch.inf).amax(1)
        total = total.index_add(0, rows, short)
    return total


class ValueLearner:
    """Q-learning: `step_iteration` plays one piece and learns from a few. A `training.learner.Learner`."""

    options = "q"

    def __init__(self, config: TrainConfig, clock: Clock | None = None) -> None:
        self.config, self.q = config, config.q
        self.clock = clock or Clock()
        # the replay is short, and would hold one part of the game if all games went on side by side
        own = outfit(dataclasses.replace(config, stagger=True), self.q.num_games, self.clock, greedy=True)
        self.device, self.generator, self.shuffle = own.device, own.generator, own.shuffle
        self.policy, self.sizes, self.env, self.transfer = own.policy, own.sizes, own.env, own.transfer
        self.mixer = make_mixer(config.algo, ENTITY_KINDS, self.sizes["scalars"], self.q.embed, self.q.hypernet).to(self.device)
        self.online = nn.ModuleList([self.policy, self.mixer])
        parallel.share_weights(self.online)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        if config.compile:
            self.policy.compile(dynamic=True)  # in place, so parameters keep their names
        self.grouping = config.grouping if config.algo == "iql" else Grouping("all", "all")
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=self.q.learning_rate, eps=1e-5, fused=True)
        self.replay: list[Rollout] = []  # oldest first
        self.obs = self.env.reset()
        self.env_steps = self.updates = 0

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one iteration, all ranks together."""
        return self.q.num_games * self.q.rollout_steps * parallel.size()

    @property
    def learning_rate(self) -> float:
        """Of the next step of the optimiser."""
        return self.optimizer.param_groups[0]["lr"]

    def begin_with(self, weights: dict[str, Tensor]) -> None:
        """Start a run that has not begun with a policy's weights from elsewhere."""
        begin_with(self.policy, weights)

    def measure(self, agent: Agent) -> dict[str, float]:
        """Nothing: it plays itself only, so there is nobody to be measured against."""
        return {}

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        return min(1.0, self.env_steps / self.config.env_steps)

    def step_iteration(self) -> dict[str, float]:
        """Play one piece and learn; returns metrics, the means over all ranks. Raises `TrainingError` on all ranks."""
        finished = self.collect()
        metrics = self.learn()
        self.env_steps += self.iteration_steps
        with self.clock("network"):
            if parallel.any_rank(self.policy.between_iterations(self.progress, self.optimizer, self.experience)):
                parallel.share_weights(self.policy)
        metrics.update({f"network/{name}": value for name, value in self.policy.stats().items()})
        metrics["charts/epsilon"] = self.epsilon
        metrics["charts/replay_mb"] = sum(piece.nbytes for piece in self.replay) / 1e6
        metrics, finished = zip(*parallel.everywhere((metrics, finished)))
        means = {name: float(np.mean([m[name] for m in metrics])) for name in metrics[0]}
        return {**means, **summarize(sum(finished, []))}

    @property
    def epsilon(self) -> float:
        """Share of entities that act at random."""
        return epsilon_at(self.env_steps, self.q.epsilon_start, self.q.epsilon_end, self.q.epsilon_steps)

    @torch.no_grad()
    def collect(self) -> list:
        """Play one piece into the replay, in place of the oldest if it is full; returns the results of the games that ended."""
        finished: list = []
        if len(self.replay) < self.q.replay:
            piece = Rollout(self.q.rollout_steps, self.q.num_games, self.sizes, self.device, keep_last=True)
        else:
            piece = self.replay.pop(0)
        self.replay.append(piece)
        piece.begin()
        for _ in range(self.q.rollout_steps):
            with self.clock("forward"):
                batch = self.transfer(self.policy.batch(self.obs))
                output = self.policy(batch)
                action = self.explore(output, batch)
            with self.clock("store"):
                piece.add(self.obs, batch, output.value, action, torch.zeros_like(output.value))
            result = self.env.step(action.cpu().numpy())
            piece.outcome(result.reward, result.done, result.truncated)
            finished += [(ended, (0, 1)) for ended in result.finished]
            if (result.truncated & ~result.done).any():  # judged once, when it happens, by the target network of then
                piece.cut(self.obs, self.row_values(self.transfer(self.policy.batch(self.obs))))
            with self.clock("restart"):
                self.env.reset_done()
        with self.clock("forward"):
            batch = self.transfer(self.policy.batch(self.obs))
            piece.add(self.obs, batch, torch.zeros(self.obs.rows))
        piece.finish()
        return finished

    def explore(self, output: Output, batch: Batch) -> Tensor:
        """Actions `[M, 4]`: the best, or of a random share of entities a random legal one, every legal kind alike."""
        best, _ = self.policy.distribution(output.logits, batch.mask).sample(greedy=True)
        anything = Distribution(torch.zeros_like(output.logits), batch.mask, self.policy.amounts, self.policy.free)
        other, _ = anything.sample(self.generator)
        random = torch.rand(len(best), generator=self.generator, device=self.device) < self.epsilon
        return torch.where(random[:, None], other, best)

    def learn(self) -> dict[str, float]:
        """Passes over pieces of the replay, the newest first; returns metrics."""
        if self.q.anneal_learning_rate:
            for group in self.optimizer.param_groups:
                group["lr"] = self.q.learning_rate * (1.0 - self.progress)
        sums: dict[str, Tensor] = {}
        count = 0
        for number in range(self.q.passes):
            if self.updates % self.q.target_interval == 0:  # the first time too: the policy may have been given weights
                self.target.load_state_dict(self.online.state_dict())
            piece = self.replay[-1 if number == 0 else self.shuffle.integers(len(self.replay))]
            with self.clock("targets"):
                taught = self.targets(piece)
                parts = Parts(taught.groups, self.device)
                returns = torch.from_numpy(taught.returns).to(self.device)
            with self.clock("update"):
                for pairs in np.array_split(self.shuffle.permutation(parts.pairs), self.q.minibatches):
                    pairs = np.sort(pairs)
                    for name, value in self.descend(piece, parts.part(pairs), pairs, returns).items():
                        sums[name] = sums.get(name, 0.0) + value
                    count += 1
            self.updates += 1
        means = {name: float(value) / count for name, value in sums.items()}
        newest = self.replay[-1]
        means["charts/reward_per_entity_turn"] = float(newest.reward[: newest.acted].mean())
        means["charts/entities_per_env_step"] = newest.acted / (self.q.rollout_steps * self.q.num_games)
        return means

    def descend(self, piece: Rollout, part: Part, pairs: np.ndarray, returns: Tensor) -> dict[str, Tensor]:
        """One step of the optimiser on a minibatch; returns metrics. A gradient that is not finite never reaches the weights."""
        batch, action = piece.minibatch(part, torch.from_numpy(pairs).to(self.device))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            output = self.policy(batch)
        rows = output.value + action_shortfall(self.policy.distribution(output.logits, batch.mask), action)
        chosen = self.mix(rows, batch, part)
        loss = (chosen - returns[part.groups]).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parallel.average_gradients(self.online, len(part.groups))
        self.policy.after_backward()
        norm = nn.utils.clip_grad_norm_(self.online.parameters(), self.q.max_grad_norm)
        if not torch.isfinite(norm):
            raise TrainingError(f"The gradient's norm is {norm.item()} after {self.env_steps} environment steps.")
        self.optimizer.step()
        return {"losses/td_loss": loss.detach(), "losses/q_values": chosen.detach().mean(), "losses/grad_norm": norm}

    def mix(self, rows: Tensor, batch: Batch, part: Part) -> Tensor:
        """Row values `[r]` of a minibatch to its groups' `[k]`."""
        if self.config.algo != "qmix":
            return collect_part(rows, part, self.config.switches.value)
        return self.mixer(by_seat(rows, batch.kind, batch.side, part.teams, ENTITY_KINDS), batch.scalar)[part.team, 0]

    @torch.no_grad()
    def row_values(self, batch: Batch) -> Tensor:
        """The largest Q-value of each row by the target network; under QMIX an equal share of the team's, so that sums are the team's."""
        policy, mixer = self.target
        output: Output = policy(batch)
        value = output.value
        if self.q.double_q:
            logits = self.policy(batch).logits
            best, _ = self.policy.distribution(logits, batch.mask).sample(greedy=True)
            value = value + action_shortfall(self.policy.distribution(output.logits, batch.mask), best)
        if self.config.algo == "qmix":
            teams = len(batch.scalar)
            team = mixer(by_seat(value, batch.kind, batch.side, teams, ENTITY_KINDS), batch.scalar)[:, 0]
            value = (team / torch.bincount(batch.side, minlength=teams).clamp(min=1))[batch.side]
        return value

    def targets(self, piece: Rollout) -> Targets:
        """Groups of a piece and their lambda-returns by the target network."""
        config = self.config
        count = piece.count
        return targets(
            piece.rows(),
            piece.reward[:count],
            self.row_values(piece.whole()).cpu().numpy(),
            piece.cut_value[:count],
            piece.new_game,
            piece.done,
            piece.truncated,
            self.grouping,
            config.switches,
            config.map_size,
            self.q.gamma,
            self.q.lam,
        )

    def experience(self) -> Experience:
        """The newest piece's rows, those of all ranks; called by all of them."""
        return join(parallel.everywhere(self.replay[-1].experience()))

    def state(self) -> dict[str, Any]:
        """Everything beside the policy's weights that the next iteration depends on, the replay included; whole on rank 0."""
        own = {
            "env": self.env.state(),
            "generator": self.generator.get_state(),
            "shuffle": self.shuffle,
            "replay": [piece.state() for piece in self.replay],
        }
        return {
            "env_steps": self.env_steps,
            "updates": self.updates,
            "mixer": self.mixer.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "weights": parallel.check_equal(self.policy),
            "ranks": parallel.at_first(own),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, made by a run with the same config. Raises `ValueError` for another number of ranks."""
        own = parallel.own_state(state, self.policy)
        self.env_steps, self.updates = state["env_steps"], state["updates"]
        self.mixer.load_state_dict(state["mixer"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(own["generator"])
        self.shuffle = own["shuffle"]
        self.obs = self.env.load_state(own["env"])
        self.replay = []
        for stored in own["replay"]:
            self.replay.append(Rollout(self.q.rollout_steps, self.q.num_games, self.sizes, self.device, keep_last=True))
            self.replay[-1].load_state(stored)
