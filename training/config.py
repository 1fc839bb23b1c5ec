"""Everything that decides a training run: one frozen dataclass and its parts. `training.presets` has values that were tuned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from agent.plain import from_dict
from agent.policy import PolicyConfig
from engine.config import MAX_FACTORIES, GameConfig, check_choice, check_range
from engine.parts import is_part
from training.trajectories.grouping import Grouping
from training.trajectories.switchboard import Switchboard
from wrappers.action import ActionConfig
from wrappers.rewards import RewardConfig

Q_LEARNING = ("iql", "vdn", "qmix")
ALGORITHMS = ("mppo", *Q_LEARNING)


@dataclass(frozen=True)
class PPOConfig:
    """Trajectory-separated maskable PPO."""

    num_games: int = 32
    """Games played side by side, on each rank of torchrun."""
    rollout_steps: int = 16
    """Turns a rollout; small rollouts learn from fewer samples (docs/results)."""
    epochs: int = 1
    """Passes over a rollout; one teaches more in a second, two or more from a step (docs/results/survival.md)."""
    minibatches: int = 12
    """Parts that a pass is cut into, by (turn, game); the learning rate of the preset demo wants about 40 of these in each."""
    learning_rate: float = 3e-3
    """Of the first step."""
    anneal_learning_rate: bool = True
    """Lower the learning rate linearly, to 0 at env_steps, unless desired_kl sets it."""
    target_kl: float | None = None
    """End the passes over a rollout when approx_kl exceeds 1.5 times this (early stopping, as in stable-baselines3)."""
    desired_kl: float | None = None
    """Adapt the learning rate so that approx_kl stays between half and twice this (as in rsl_rl), rather than lower it."""
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_coef: float = 0.2
    clip_value_loss: bool = False
    vf_coef: float = 0.5
    ent_coef: float = 1e-3
    max_grad_norm: float = 0.5
    normalize_advantage: bool = True
    """Scale advantages of each minibatch to mean 0 and deviation 1 over its active groups."""
    teacher: str | None = None
    """Checkpoint or run folder of a teacher to stay near at first."""
    teacher_coef: float = 0.1
    """Weight of KL(teacher || policy) in the loss at the start; it falls linearly to 0."""
    teacher_share: float = 0.5
    """Share of the training after which that weight is 0."""

    def __post_init__(self) -> None:
        check_range(self, 1, None, "num_games", "rollout_steps", "epochs", "minibatches", prefix="ppo.")
        check_range(self, 0, 1, "gamma", "gae_lambda", "learning_rate", prefix="ppo.")
        check_range(self, 0, 10, "clip_coef", prefix="ppo.")
        for name in ("target_kl", "desired_kl"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"ppo.{name} is {value}; it must be above 0.")
        if self.teacher_coef < 0 or not 0 < self.teacher_share <= 1:
            raise ValueError(
                f"ppo.teacher_coef is {self.teacher_coef} (at least 0) and ppo.teacher_share is {self.teacher_share} (above 0, up to 1); "
                "one of them is out of range."
            )
        if self.minibatches > self.num_games * self.rollout_steps:
            raise ValueError(
                f"ppo.minibatches is {self.minibatches}, more than ppo.num_games * ppo.rollout_steps = "
                f"{self.num_games * self.rollout_steps}; make it smaller."
            )


@dataclass(frozen=True)
class LeagueConfig:
    """Self-play against past policies and given opponents (`training.league.league`); off unless `share` is above 0."""

    share: float = 0.0
    """Share of the games in which one side is played by an opponent from the pool; 0 is self-play alone."""
    scripted: tuple[str, ...] = ()
    """Built-in agents in the pool (farmer, miner, ...), and programs: a .tar.gz, a folder with main.py. Each
    game against farmer or raider takes about 4 ms a turn, against miner
    0.5 ms, while a turn of all 16 games of the preset full takes 16 ms (python -m benchmarks.league)."""
    checkpoints: tuple[str, ...] = ()
    """Checkpoints or run folders in the pool."""
    hardness: float = 2.0
    """Opponents are drawn in proportion to (1 - win rate against them) to this power; 0 draws them evenly."""
    win_rate: float = 0.57
    """The policy enters the pool when it wins this share of its games against the last four entries ..."""
    min_games: int = 20
    """... of at least so many since the last entry ..."""
    max_steps: int = 100_000
    """... or when so many environment steps have passed since then."""
    pool: int = 16
    """Most members of the pool, given ones included; beyond it the past policy that is easiest to beat is dropped."""
    distinct: int = 4
    """About how many different opponents play at one time, on each rank; each policy costs a forward pass a turn."""
    scripted_games: int = 2
    """Most games against scripted agents at one time, on each rank."""
    match_games: int = 32
    """About how many games each evaluation plays against the hardest members (one against farmer takes 4 s); the best checkpoint is the
    one rated highest by them."""

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "share", "win_rate", prefix="league.")
        check_range(self, 0, 100, "hardness", prefix="league.")
        check_range(self, 1, None, "min_games", "max_steps", "distinct", prefix="league.")
        check_range(self, 0, None, "scripted_games", prefix="league.")
        check_range(self, 2, None, "match_games", prefix="league.")
        given = [*self.scripted, *self.checkpoints]
        if len(set(given)) < len(given):
            raise ValueError(f"league.scripted and league.checkpoints are {' '.join(given)}; name each once.")
        if self.pool < len(given) + 5:
            raise ValueError(
                f"league.pool is {self.pool} with {len(given)} given opponents; it needs room for them and five past policies, "
                f"so at least {len(given) + 5}."
            )


@dataclass(frozen=True)
class QConfig:
    """Q-learning on the game (`training.value_based.learner`), for the algorithms iql, vdn and qmix."""

    num_games: int = 16
    """Games played side by side, on each rank of torchrun."""
    rollout_steps: int = 16
    """Turns of a piece, along which lambda-returns run."""
    replay: int = 8
    """Pieces kept, about 15 MB each in memory and 11 MB in a checkpoint."""
    passes: int = 4
    """Pieces learned from after each new one: this one, then any of the replay."""
    minibatches: int = 4
    """Gradient steps a pass, by (turn, game)."""
    learning_rate: float = 1e-3
    anneal_learning_rate: bool = True
    """Lower the learning rate linearly to 0: what a greedy policy does changes with every small change of its values."""
    gamma: float = 0.99
    lam: float = 0.8
    """Of the lambda-returns."""
    double_q: bool = False
    """The learning network chooses the next action, the target network judges it."""
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_steps: int = 8_192
    """Environment steps until it is reached."""
    target_interval: int = 16
    """Passes between copies to the target network."""
    max_grad_norm: float = 10.0
    embed: int = 32
    """Width of QMIX's mixer."""
    hypernet: int = 64
    """Width of its hypernetworks."""

    def __post_init__(self) -> None:
        check_range(self, 1, None, "num_games", "rollout_steps", "replay", "passes", "minibatches", prefix="q.")
        check_range(self, 1, None, "epsilon_steps", "target_interval", "embed", "hypernet", prefix="q.")
        check_range(self, 0, 1, "learning_rate", "gamma", "lam", "epsilon_start", "epsilon_end", prefix="q.")
        if self.minibatches > self.num_games * self.rollout_steps:
            raise ValueError(f"q.minibatches is {self.minibatches}, more than q.num_games * q.rollout_steps.")


@dataclass(frozen=True)
class CurriculumConfig:
    """Training games other than whole ones by the rules of the map size; evaluations play those in any case.

    Smaller maps first are two runs: train --map-size 32, then train --init with that run.
    """

    factories: tuple[int, int] | None = None
    """Fewest and most factories a side (default: those of the map size)."""
    replays: tuple[str, ...] = ()
    """Replays, ours or Kaggle's, in whose states games begin; a resumed run reads them again. Of these games the metrics count ice and
    the like from there on, and a league books who wins them."""
    share: float = 0.5
    """Share of the games that begin in one of them."""
    every: int = 50
    """Turns between these states; each takes 0.35 MB of memory."""

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "share", prefix="curriculum.")
        check_range(self, 1, None, "every", prefix="curriculum.")
        if self.factories is not None and not 1 <= self.factories[0] <= self.factories[1] <= MAX_FACTORIES:
            raise ValueError(
                f"curriculum.factories are {self.factories[0]} and {self.factories[1]}; accepted are two numbers from 1 to "
                f"{MAX_FACTORIES}, the smaller one first."
            )


@dataclass(frozen=True)
class TrainConfig:
    """A training run. The defaults train the survival skill on 48x48 maps."""

    algo: str = "mppo"
    """mppo: PPO (options ppo). iql, vdn, qmix: Q-learning of each entity, of a side's sum, of a side's mixture (options q). Or a
    `training.learner.Learner` of your own, as package.module:Class or path/to/file.py:Class, which is made as PPOLearner is."""
    env_steps: int = 102_400
    """Environment steps in all, those of all ranks of torchrun counted: one turn of one game, both sides deciding."""
    seed: int = 1
    """Of the network, the maps that are drawn, and all chance in play and learning."""
    map_size: int = 48
    """12 to 64; 48 plays 2-5 factories a side, 64 plays 4-10."""
    max_turns: int | None = None
    """Cut training games off after so many turns (default: play them to turn 1000); the value of the cut state is bootstrapped."""
    stagger: bool = True
    """Cut the first games off at evenly spread turns, so that a rollout shows all parts of the game, not one turn of each.
    Q-learning always does."""
    train_maps: int = 256
    """Maps of the official generator that training draws from (seeds 0, 1, ...)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU if there is one."""
    threads: int = 1
    """torch threads; more than the free cores makes everything several times slower."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16: matrix products and convolutions in bfloat16 (autocast); weights, losses and probabilities stay float32."""
    compile: bool = False
    """Compile the network (torch.compile); costs a minute or two at the start, and needs a C++ compiler on a CPU."""
    eval_every: int = 25_600
    """Environment steps between evaluations (0: only at the end)."""
    eval_maps: int = 16
    """Unseen maps an evaluation during training plays."""
    checkpoint_every: int = 10_240
    """Environment steps between checkpoints."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    q: QConfig = field(default_factory=QConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    actions: ActionConfig = field(default_factory=ActionConfig.survival)
    reward: RewardConfig = field(default_factory=RewardConfig)
    grouping: Grouping = field(default_factory=Grouping)
    switches: Switchboard = field(default_factory=Switchboard)
    league: LeagueConfig = field(default_factory=LeagueConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)

    def __post_init__(self) -> None:
        if not is_part(self.algo):
            check_choice(self, ALGORITHMS, "algo")
        check_range(self, 1, None, "env_steps", "checkpoint_every")
        check_range(self, 0, None, "eval_every", "seed")
        check_range(self, 1, 1_000_000, "train_maps")
        check_range(self, 1, 1000, "eval_maps")
        check_range(self, 1, 1024, "threads")
        if self.max_turns is not None:
            check_range(self, 1, None, "max_turns")
        if self.reward.own < 1 and self.switches.own_reward_weight < 1:
            raise ValueError(
                f"reward.own is {self.reward.own} and switches.own_reward_weight is {self.switches.own_reward_weight}; "
                "both share rewards over the side, so at most one of them may be below 1."
            )
        if self.policy.greedy:
            raise ValueError("policy.greedy is set by the algorithms iql, vdn and qmix; leave it off.")
        if self.league.share == 0 and (given := [*self.league.scripted, *self.league.checkpoints]):
            raise ValueError(f"league.share is 0, so that nobody meets {', '.join(given)}; give it, or leave them out.")
        if self.algo in Q_LEARNING and self.league.share > 0:
            raise ValueError(f"algo is {self.algo} and league.share is {self.league.share}; only mppo plays in a league.")
        if self.algo in Q_LEARNING and self.policy.adviser is not None:
            raise ValueError(f"algo is {self.algo} and policy.adviser is {self.policy.adviser}; only mppo learns with an adviser.")
        if self.algo in Q_LEARNING and self.ppo.teacher is not None:
            raise ValueError(f"algo is {self.algo} and ppo.teacher is {self.ppo.teacher}; only mppo learns from a teacher.")
        if self.algo in ("vdn", "qmix") and self.grouping != Grouping():
            raise ValueError(f"algo is {self.algo}, whose groups are the teams, and grouping is {self.grouping}; leave it as it is.")
        if self.curriculum.replays and self.league.share > 0 and self.league.scripted:
            raise ValueError(
                f"curriculum.replays are given, and league.scripted is {' '.join(self.league.scripted)}; scripted opponents play "
                "whole games only, so leave one of them out."
            )
        self.training_game()

    def game(self) -> GameConfig:
        """The rules that this run is evaluated by."""
        return GameConfig.for_map_size(self.map_size)

    def training_game(self) -> GameConfig:
        """The rules that it trains by."""
        if self.curriculum.factories is None:
            return self.game()
        low, high = self.curriculum.factories
        return GameConfig.for_map_size(self.map_size, min_factories=low, max_factories=high)


def config_of(stored: dict[str, Any]) -> TrainConfig:
    """The run's config from what a checkpoint stores."""
    return from_dict(TrainConfig, stored["train"])
