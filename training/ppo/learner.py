"""The training loop: trajectory-separated maskable PPO, from top to bottom.

    collect a rollout -> group it and compute advantages -> a few passes of PPO

Between two iterations the whole state is the policy, the optimiser, the games and the random generators; that is what a
checkpoint holds, so a resumed run goes on exactly, bit for bit on a CPU. Started by `torchrun`, every rank runs this same
loop on games of its own (`training.run.parallel`). `training.train` calls it, evaluates now and then, and saves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agent.advisers import advice_for
from agent.backbones import Experience
from agent.batch import Batch
from agent.policy import Output
from agent.stored import Agent
from training.config import TrainConfig
from training.league.league import League
from training.league.seats import Seats
from training.league.strength import measure
from training.learner import begin_with, outfit
from training.ppo.guidance import load_guide
from training.ppo.loss import explained_variance, ppo_loss
from training.ppo.step_size import adapt, passes_end, set_learning_rate
from training.run import parallel
from training.run.metrics import summarize
from training.run.progress import Clock
from training.run.stopping import TrainingError
from training.trajectories.advantages import Targets, normalize, targets
from training.trajectories.grouping import Part, Parts
from training.trajectories.rollout import Rollout, join
from training.trajectories.switchboard import collect_part
from wrappers.observation import Observation
from wrappers.vec_env import GameResult


class PPOLearner:
    """M-PPO: `step_iteration` advances it by one rollout. A `training.learner.Learner`."""

    options = "ppo"

    def __init__(self, config: TrainConfig, clock: Clock | None = None) -> None:
        self.config = config
        self.clock = clock or Clock()
        own = outfit(config, config.ppo.num_games, self.clock)
        self.device, self.generator, self.shuffle = own.device, own.generator, own.shuffle
        self.policy, self.env, self.transfer = own.policy, own.env, own.transfer
        parallel.share_weights(self.policy)
        self.guide = load_guide(config.ppo, self.policy, self.device)
        if config.compile:
            self.policy.compile(dynamic=True)  # in place, so parameters keep their names
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config.ppo.learning_rate, eps=1e-5, fused=True)
        self.rollout = Rollout(config.ppo.rollout_steps, config.ppo.num_games, own.sizes, self.device, self.policy.fields)
        self.league = League(config.league, self.policy, config.actions, self.device) if config.league.share else None
        self.seats = Seats(config.league, self.env, self.league, own.seed)
        self.advice = advice_for(self.policy, config.actions, config.training_game())
        self.obs = self.env.reset()
        self.env_steps = 0

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one iteration, all ranks together."""
        return self.config.ppo.num_games * self.config.ppo.rollout_steps * parallel.size()

    @property
    def learning_rate(self) -> float:
        """Of the next step of the optimiser."""
        return self.optimizer.param_groups[0]["lr"]

    def begin_with(self, weights: dict[str, Tensor]) -> None:
        """Start a run that has not begun with a policy's weights from elsewhere."""
        begin_with(self.policy, weights)
        if self.league is not None:
            self.league.begin_with(self.policy)

    def measure(self, agent: Agent) -> dict[str, float]:
        """Its rating against the league's pool, if there is one."""
        if self.league is None:
            return {}
        return measure(agent, self.league, self.config.game(), self.config.league.match_games)

    def step_iteration(self) -> dict[str, float]:
        """Collect one rollout and learn from it; returns metrics, the means over all ranks.

        Raises `TrainingError` on a number that is not finite: on all ranks, since they share gradients.
        """
        finished = self.collect()
        metrics = self.learn()
        self.env_steps += self.iteration_steps
        with self.clock("network"):
            progress = min(1.0, self.env_steps / self.config.env_steps)
            if parallel.any_rank(self.policy.between_iterations(progress, self.optimizer, self.experience)):
                parallel.share_weights(self.policy)
        metrics.update({f"network/{name}": value for name, value in self.policy.stats().items()})
        metrics, finished, reports = zip(*parallel.everywhere((metrics, finished, self.seats.report())))
        means = {name: float(np.mean([m[name] for m in metrics])) for name in metrics[0]}
        if self.league is not None:
            played = [game for games, _ in reports for game in games]
            means.update(self.league.learn_of(played, set().union(*(uids for _, uids in reports)), self.env_steps, self.policy))
        return {**means, **summarize(sum(finished, []))}

    def forward(self, batch: Batch, stored: dict[str, Tensor] | None = None) -> Output:
        """The policy in the run's precision; `stored` as for `Policy.forward`."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            return self.policy(batch, stored)

    @torch.no_grad()
    def collect(self) -> list[tuple[GameResult, tuple[int, ...]]]:
        """Play one rollout; returns the results of the games that ended in it, each with the players that the policy was."""
        finished: list[tuple[GameResult, tuple[int, ...]]] = []
        rollout, policy, seats = self.rollout, self.policy, self.seats
        rollout.begin()
        for _ in range(self.config.ppo.rollout_steps):
            seen = self.look()
            with self.clock("forward"):
                batch = self.transfer(policy.batch(seen))
                logits, value, fields = self.forward(batch)
                action, log_prob = policy.distribution(logits, batch.mask).sample(self.generator)
            with self.clock("store"):
                rollout.add(seen, batch, value, action, log_prob, fields)
                chosen = action.cpu().numpy()
            if self.league is not None:
                with self.clock("opponents"):
                    chosen = seats.decide(chosen)
            if self.advice is not None:
                self.advice.watch(self.obs, chosen)
            result = self.env.step(chosen, seats.override)
            rollout.outcome(result.reward[seats.kept], result.done, result.truncated)
            if (result.truncated & ~result.done).any():
                seen = self.look(result.truncated)
                rollout.cut(seen, self.forward(self.transfer(policy.batch(seen))).value)
            with self.clock("restart"):
                finished += seats.ended(result.finished)
                self.env.reset_done()
            if self.advice is not None:
                for ended in result.finished:
                    self.advice.forget(ended.game)
        seen = self.look()
        with self.clock("forward"):
            batch = self.transfer(policy.batch(seen))
            rollout.add(seen, batch, self.forward(batch).value)
        rollout.finish()
        return finished

    def look(self, games: np.ndarray | None = None) -> Observation:
        """The rows that the policy plays, with the advice that it wants: in all games, or in those of `games [N]` (bool)."""
        if self.advice is not None:
            sides = [side for side in self.seats.policy_sides() if games is None or games[side // 2]]
            with self.clock("advice"):
                self.advice.write(self.env.games, self.env.rules, self.obs, sides)
        return self.seats.learners(self.obs)

    def learn(self) -> dict[str, float]:
        """PPO on the rollout; returns metrics. A gradient that is not finite never reaches the weights."""
        config, ppo = self.config, self.config.ppo
        with self.clock("advantages"):
            taught = self.targets()
            parts = Parts(taught.groups, self.device)
            columns = {name: torch.from_numpy(getattr(taught, name)).to(self.device) for name in ("advantage", "returns", "value")}
        set_learning_rate(self.optimizer, ppo, self.env_steps / config.env_steps)
        sums: dict[str, Tensor] = {}
        count = 0
        with self.clock("update"):
            for pairs in self.minibatches(parts.pairs):
                part = parts.part(pairs)
                loss, metrics = self.minibatch_loss(part, torch.from_numpy(pairs).to(self.device), columns)
                if count and passes_end(ppo, metrics["losses/approx_kl"]):
                    break
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                parallel.average_gradients(self.policy, len(part.groups))
                self.policy.after_backward()
                norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), ppo.max_grad_norm)
                if not torch.isfinite(norm):
                    raise TrainingError(f"The gradient's norm is {norm.item()} after {self.env_steps} environment steps.")
                self.optimizer.step()
                metrics["losses/grad_norm"] = norm
                for name, value in metrics.items():
                    sums[name] = sums.get(name, 0.0) + value
                count += 1
        means = {name: float(value) / count for name, value in sums.items()}
        means["charts/learning_rate"] = self.learning_rate
        means["charts/updates"] = float(count)
        adapt(self.optimizer, ppo, means["losses/approx_kl"])
        active = torch.from_numpy(taught.groups.active).to(self.device)
        means["losses/explained_variance"] = float(explained_variance(columns["value"][active], columns["returns"][active]))
        means["charts/reward_per_entity_turn"] = float(self.rollout.reward[: self.rollout.acted].mean())
        means["charts/entities_per_env_step"] = self.rollout.acted / parts.pairs
        return means

    def minibatches(self, pairs: int) -> Iterator[np.ndarray]:
        """The (step, game) pairs of each minibatch of each pass, ascending."""
        for _ in range(self.config.ppo.epochs):
            order = self.shuffle.permutation(pairs)
            yield from (np.sort(chosen) for chosen in np.array_split(order, self.config.ppo.minibatches))

    def experience(self) -> Experience:
        """The last rollout's rows, those of all ranks; called by all of them."""
        return join(parallel.everywhere(self.rollout.experience()))

    def targets(self) -> Targets:
        """Advantages and returns of the rollout's groups."""
        rollout, config = self.rollout, self.config
        count = rollout.count
        return targets(
            rollout.rows(),
            rollout.reward[:count],
            rollout.value,
            rollout.cut_value[:count],
            rollout.new_game,
            rollout.done,
            rollout.truncated,
            config.grouping,
            config.switches,
            config.map_size,
            config.ppo.gamma,
            config.ppo.gae_lambda,
        )

    def minibatch_loss(self, part: Part, pairs: Tensor, columns: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one minibatch: rows are evaluated one by one, then summed to their groups."""
        ppo, switches = self.config.ppo, self.config.switches
        batch, action = self.rollout.minibatch(part, pairs)
        logits, value, _ = self.forward(batch, self.rollout.stored(part))
        distribution = self.policy.distribution(logits, batch.mask)
        log_prob, entropy = distribution.evaluate(action)
        advantage = columns["advantage"][part.groups]
        if ppo.normalize_advantage:
            advantage = normalize(advantage, total=parallel.total)
        loss, metrics = ppo_loss(
            collect_part(log_prob, part, switches.log_prob),
            collect_part(self.rollout.old_log_prob(part), part, switches.log_prob),
            advantage,
            collect_part(value, part, switches.value),
            columns["value"][part.groups],
            columns["returns"][part.groups],
            collect_part(entropy, part, switches.entropy),
            ppo.clip_coef,
            ppo.clip_value_loss,
            ppo.vf_coef,
            ppo.ent_coef,
            collect_part(distribution.chooses().float(), part, switches.log_prob) > 0,
        )
        if self.guide is not None:
            pull, more = self.guide(batch, distribution, action, self.env_steps / self.config.env_steps)
            loss, metrics = loss + pull, {**metrics, **more}
        return loss, metrics

    def state(self) -> dict[str, Any]:
        """Everything beside the policy's weights that the next iteration depends on; whole on rank 0."""
        own = {"env": self.env.state(), "generator": self.generator.get_state(), "shuffle": self.shuffle, **self.seats.state()}
        if self.advice is not None:
            own["advice"] = self.advice.state()
        return {
            **({"league": self.league.state()} if self.league is not None else {}),
            "env_steps": self.env_steps,
            "optimizer": self.optimizer.state_dict(),
            "weights": parallel.check_equal(self.policy),
            "ranks": parallel.at_first(own),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, made by a run with the same config. Raises `ValueError` for another number of ranks."""
        own = parallel.own_state(state, self.policy)
        self.env_steps = state["env_steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(own["generator"])
        self.shuffle = own["shuffle"]
        self.obs = self.env.load_state(own["env"])
        if self.advice is not None:
            self.advice.load_state(own["advice"], self.env.games)
        if self.league is not None:
            self.league.load_state(state["league"])
            self.seats.load_state(own["seats"])
