"""The training loop: trajectory-separated maskable PPO, from top to bottom.

    collect a rollout -> group it and compute advantages -> a few passes of PPO -> now and then evaluate and save

A run is a folder (`training.checkpoint`) with metrics beside the checkpoints. Between two iterations the whole state
of a run is the policy, the optimiser, the games and the random generators; that is what a checkpoint holds, so a
resumed run goes on exactly, bit for bit on a CPU. Started by `torchrun`, every rank runs this same loop on games of its
own (`training.parallel`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agent.backbones import Experience
from agent.batch import Batch
from agent.lichen_opening import opening_of
from agent.policy import Output, Policy, policy_sizes
from agent.sparse import Topology
from engine.maps import MapPool
from submission.advisers import advice_for
from training import checkpoint, parallel
from training.advantages import Targets, normalize, targets
from training.config import TrainConfig, from_dict, to_dict
from training.evaluate import EVALUATION_SEEDS, Agent, evaluate
from training.grouping import Part, Parts
from training.guidance import load_guide
from training.health import health_of, keep_alarms_until, record_alarm
from training.league import League
from training.loss import explained_variance, ppo_loss
from training.metrics import MetricsWriter, check_new, summarize
from training.progress import Clock, Progress
from training.rollout import Rollout, join
from training.runs import TrainingError, revision
from training.seats import Seats
from training.starts import read_starts
from training.step_size import adapt, passes_end, set_learning_rate
from training.stopping import StopRequest
from training.strength import measure
from training.switchboard import collect_part
from training.transfer import Transfer
from wrappers.observation import Observation
from wrappers.vec_env import GameResult, VecEnv


class Stopped(Exception):
    """Training was asked to stop, and is saved."""


class Trainer:
    """One run: `step_iteration` advances it by one rollout, `state` and `load_state` are all that a resume needs."""

    def __init__(self, config: TrainConfig, clock: Clock | None = None) -> None:
        self.config = config
        self.clock = clock or Clock()
        self.device = choose_device(config.device)
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        seed = parallel.seed_of(config.seed, parallel.rank())
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.shuffle = np.random.default_rng(seed)
        self.policy, sizes = make_policy(config)
        self.policy.to(self.device)
        self.env = make_env(config, config.ppo.num_games, sizes, seed, self.clock)
        parallel.share_weights(self.policy)
        self.guide = load_guide(config.ppo, self.policy, self.device)
        if config.compile:
            self.policy.compile(dynamic=True)  # in place, so parameters keep their names
        self.transfer = Transfer(self.device)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config.ppo.learning_rate, eps=1e-5, fused=True)
        self.rollout = Rollout(config.ppo.rollout_steps, config.ppo.num_games, sizes, self.device, self.policy.fields)
        self.league = League(config.league, self.policy, config.actions, self.device) if config.league.share else None
        self.seats = Seats(config.league, self.env, self.league, seed)
        self.advice = advice_for(self.policy, config.actions, config.training_game())
        self.obs = self.env.reset()
        self.env_steps = 0
        self.best_score = -np.inf

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one iteration, all ranks together."""
        return self.config.ppo.num_games * self.config.ppo.rollout_steps * parallel.size()

    def step_iteration(self) -> dict[str, float]:
        """Collect one rollout and learn from it; returns metrics, the means over all ranks.

        Raises `TrainingError` on a number that is not finite: on all ranks, since they share gradients.
        """
        finished = self.collect()
        metrics = self.learn()
        self.env_steps += self.iteration_steps
        with self.clock("network"):
            self.policy.between_iterations(min(1.0, self.env_steps / self.config.env_steps), self.optimizer, self.experience)
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
                seen = seats.learners(self.obs)
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

    def look(self) -> Observation:
        """The rows that the policy plays, with the advice that it wants."""
        if self.advice is not None:
            with self.clock("advice"):
                self.advice.write(self.env.games, self.env.rules, self.obs, self.seats.policy_sides())
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
        means["charts/learning_rate"] = self.optimizer.param_groups[0]["lr"]
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
            "best_score": self.best_score,
            "optimizer": self.optimizer.state_dict(),
            "weights": parallel.check_equal(self.policy),
            "ranks": parallel.at_first(own),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, made by a run with the same config. Raises `ValueError` for another number of ranks."""
        own = parallel.own_state(state, self.policy)
        self.env_steps = state["env_steps"]
        self.best_score = state["best_score"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(own["generator"])
        self.shuffle = own["shuffle"]
        self.obs = self.env.load_state(own["env"])
        if self.advice is not None:
            self.advice.load_state(own["advice"], self.env.games)
        if self.league is not None:
            self.league.load_state(state["league"])
            self.seats.load_state(own["seats"])


def make_policy(config: TrainConfig, greedy: bool = False) -> tuple[Policy, dict[str, Any]]:
    """A new policy, which always plays its best action if `greedy`, and the sizes that it was built for."""
    sizes = policy_sizes(config.actions, config.policy, config.map_size)
    return Policy(dataclasses.replace(config.policy, greedy=greedy), sizes), sizes


def make_env(config: TrainConfig, games: int, sizes: dict[str, Any], seed: int, clock: Clock) -> VecEnv:
    """The games of this rank, on the maps of the run or out of its replays."""
    game, curriculum = config.training_game(), config.curriculum
    turns = config.max_turns or game.max_episode_length
    starts = read_starts(curriculum.replays, game, curriculum.every, turns) if curriculum.replays else None
    with parallel.first_here():
        pool = MapPool(game, range(config.train_maps))
    return VecEnv(
        game,
        games,
        pool,
        opening_of(config.actions),
        reward=config.reward,
        actions=config.actions,
        seed=seed,
        max_turns=config.max_turns,
        stagger=config.stagger,
        grid=sizes["plane_size"],
        columns=sizes["advice"],
        clock=clock,
        starts=starts,
        start_share=curriculum.share,
    )


def make_trainer(config: TrainConfig, clock: Clock) -> Any:
    """The trainer of the run's algorithm."""
    if config.algo == "mppo":
        return Trainer(config, clock)
    from training.value_based.game import QTrainer

    return QTrainer(config, clock)


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU if there is one. Raises `ValueError` for `cuda` without a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU; accepted here are auto and cpu.")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", parallel.local_rank())


def full_config(trainer: Any) -> dict[str, Any]:
    """What a checkpoint stores: the code's revision, the run's config, and the policy's with the sizes it was built for."""
    return {
        "revision": revision(),
        "train": to_dict(trainer.config),
        "policy": trainer.policy.full_config(),
        "actions": to_dict(trainer.config.actions),
    }


def config_of(stored: dict[str, Any]) -> TrainConfig:
    """The run's config from what a checkpoint stores."""
    return from_dict(TrainConfig, stored["train"])


CHANGEABLE = ("env_steps", "device", "threads", "eval_every", "eval_maps", "checkpoint_every")


def run_to_resume(path: Path) -> tuple[Path, TrainConfig]:
    """The folder and the config of the run that `path` (a run folder, or `latest`) means. Raises `CheckpointError`."""
    stored = checkpoint.load(path, which="latest", check=config_of)
    if stored.folder == path or path.name in ("best", "latest") and path.is_file():
        raise checkpoint.CheckpointError(f"{path} is one checkpoint; resume the run that it is in, {stored.folder.parent}.")
    if "imitate" in stored.config:
        raise checkpoint.CheckpointError(f"{path} is a run of imitation; go on with imitate --resume, or train from it with --init {path}.")
    return stored.folder.parent, config_of(stored.config)


def check_resumable(stored: TrainConfig, wanted: TrainConfig) -> None:
    """Raises `ValueError` if more was changed than a resumed run can take."""
    before, after = to_dict(stored), to_dict(wanted)
    changed = [name for name in before if before[name] != after[name] and name not in CHANGEABLE]
    if changed:
        raise ValueError(f"A resumed run keeps its {', '.join(changed)}; what may change is {', '.join(CHANGEABLE)}.")


@contextmanager
def reporting(run_dir: Path, config: TrainConfig, clock: Clock, start: int | None) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A function that writes an iteration's metrics, shows the progress and tells alarms; on other ranks than the first it does nothing.

    `start` is the environment step that a resumed run goes on from.
    """
    if parallel.rank() > 0:
        yield lambda now, latest: None
        return
    progress = Progress(config.env_steps, clock, start or 0, title=run_dir.name)
    keep_alarms_until(run_dir, start or 0)
    with MetricsWriter(run_dir, start) as metrics, progress:
        health = health_of(run_dir)

        def report(now: int, latest: dict[str, float]) -> None:
            progress.update(now, latest)
            for alarm in health.look(latest):
                progress.console.print(f"[yellow]warning:[/yellow] step {now:,}: {alarm}", highlight=False)
                record_alarm(run_dir, now, alarm)
            metrics.write(now, {**latest, "charts/SPS": progress.steps_per_second()})

        yield report


def train(config: TrainConfig, run_dir: Path, resume: bool = False, init: str | None = None) -> dict[str, float]:
    """Train until `config.env_steps`; returns the last evaluation. Under `torchrun` it is called within `parallel.group()`.

    `init` names a checkpoint whose weights a new run starts with; its optimiser starts anew.

    With `resume` the run in `run_dir` goes on from its latest checkpoint; `config` is the one stored there, but for what
    `check_resumable` lets change. Raises `Stopped` when it was asked to stop and has saved.
    """
    clock = Clock()
    if not resume:
        parallel.on_first(lambda: check_new(run_dir))
    trainer = make_trainer(config, clock)
    if resume:
        stored = parallel.on_first(lambda: checkpoint.load(run_dir, which="latest", check=config_of))
        if stored.trainer_state is None:
            raise checkpoint.CheckpointError(f"{stored.folder} holds a policy but no trainer.pt; training cannot go on from it.")
        trainer.policy.load_state_dict(stored.policy_state)
        trainer.load_state(stored.trainer_state)
        if trainer.env_steps >= config.env_steps:
            raise ValueError(f"The run is at step {trainer.env_steps:,} of {config.env_steps:,}; to go on, give a larger --env-steps.")
    else:
        if init is not None:
            trainer.policy.load_state_dict(parallel.on_first(lambda: checkpoint.load(init, check=config_of)).policy_state)
            for module in trainer.policy.modules():
                if isinstance(module, Topology):
                    module.restart()
            if trainer.league is not None:
                trainer.league.begin_with(trainer.policy)
        save(trainer, run_dir)  # a run that is killed before its first checkpoint can be resumed all the same
    scores: dict[str, float] = {}
    saved = trainer.env_steps
    iteration = trainer.iteration_steps
    eval_every = config.eval_every or config.env_steps
    with reporting(run_dir, config, clock, trainer.env_steps if resume else None) as report, StopRequest() as stop:
        while not (stopped := parallel.any_rank(stop.requested)) and trainer.env_steps < config.env_steps:
            try:
                latest = trainer.step_iteration()
            except TrainingError as error:
                folder = save(trainer, run_dir)
                raise TrainingError(
                    f"{error} The last good weights are saved in {folder}; go on from them in a new run with smaller steps: "
                    f"train --init {folder} --ppo.learning-rate {trainer.optimizer.param_groups[0]['lr'] / 3:.1g}"
                ) from error
            now, before = trainer.env_steps, trainer.env_steps - iteration
            ended = now >= config.env_steps
            fresh: dict[str, float] = {}
            due = ended or now // eval_every > before // eval_every
            if due and not parallel.any_rank(stop.requested):
                with clock("evaluation"):
                    scores = fresh = parallel.on_first(lambda: evaluation(trainer))
                latest.update({f"eval/{name}": value for name, value in scores.items()})
            report(now, latest)
            if fresh or ended or now // config.checkpoint_every > before // config.checkpoint_every:
                with clock("checkpoint"):
                    save(trainer, run_dir, fresh)
                saved = now
        if stopped:
            if saved != trainer.env_steps:
                save(trainer, run_dir)
            raise Stopped(f"Stopped at step {trainer.env_steps:,} and saved in {run_dir}; go on with --resume --run-dir {run_dir}")
    return scores


def evaluation(trainer: Any) -> dict[str, float]:
    """Scores of the policy as it is on the run's unseen maps; with a league, its rating against the pool, too."""
    config = trainer.config
    agent = Agent(trainer.policy, config.actions)
    seeds = range(EVALUATION_SEEDS, EVALUATION_SEEDS + config.eval_maps)
    scores = evaluate(agent, config.game(), seeds).scores
    if trainer.league is not None:
        scores.update(measure(agent, trainer.league, config.game(), config.league.match_games))
    return scores


def merit(scores: dict[str, float]) -> float:
    """What the best checkpoint has most of: the rating against the pool; without a league games finished, then lichen, then ice."""
    return scores["rating"] if "rating" in scores else scores["finished"] + scores["lichen"] / 1e6 + scores["ice_transferred"] / 1e12


def save(trainer: Any, run_dir: Path, scores: dict[str, float] | None = None) -> Path:
    """Checkpoint the run (all ranks call, the first writes); `scores` of an evaluation decide whether it is the best (`merit`)."""
    best = bool(scores) and merit(scores) > trainer.best_score
    if scores and best:
        trainer.best_score = merit(scores)
    state = trainer.state()
    return parallel.on_first(
        lambda: checkpoint.save_to_run(run_dir, trainer.env_steps, full_config(trainer), trainer.policy.state_dict(), state, best=best)
    )
