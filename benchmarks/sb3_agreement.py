"""Agreement with a stock library: our `PPOLearner` and sb3-contrib's `MaskablePPO` learn the same thing from the same games.

Both drive one heavy robot (`SingleRobotEnv`) with the same network, 64-64 tanh for the policy and as much for the value,
and the same hyperparameters. With one entity a side, every grouping is one trajectory, so trajectory-separated PPO
must be plain PPO: the learning curves have to agree, and from equal weights and an equal rollout one update has to be
the same to rounding (`tests/benchmarks/test_sb3_agreement.py`). What runs on our side is `PPOLearner.collect` and `PPOLearner.learn` as
they are; only the games, the network and the buffer for them are put in place of the game's own.

`python -m benchmarks.sb3_agreement` writes docs/results/sb3_agreement.md and .png, and the runs to .json; it goes on where it was
interrupted. About a minute a run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import tyro
from torch import Tensor

from agent.backbones import Backbone
from agent.batch import Batch
from agent.layers import linear
from agent.opening import opening
from agent.policy import Output, Policy
from engine.config import MAX_FACTORIES
from engine.maps import MapPool
from training.config import PPOConfig, TrainConfig
from training.ppo.learner import PPOLearner
from training.trajectories.grouping import Grouping
from training.trajectories.rollout import Rollout
from wrappers.adapters.gymnasium_env import SingleRobotEnv, single_robot_config
from wrappers.features import ROBOT_WIDTH
from wrappers.observation import SCALARS, Observation
from wrappers.rewards import RewardConfig
from wrappers.vec_env import GameResult, Step

RESULTS = Path("docs/results")
WINDOWS = 20  # points of a learning curve
STOCK, OURS = "MaskablePPO", "PPOLearner"
# how the setting came about, for the page
NOTES = """How this setting came about: with an entropy coefficient of 0.01 one of six runs (ours, seed 2) stopped exploring before it
had found ice, so it is 0.03. Five seeds were run first; ours was behind by 115 in final return, with a standard error of 30, though
the two are equal step by step. So there are ten: in the second five they are level. Runs end between 200 and 570 on both sides,
and five of them are too few to tell a difference from chance."""


@dataclass(frozen=True)
class Setting:
    """What both sides share."""

    env_steps: int = 81_920
    """Turns of the robot in a run, all environments together."""
    seeds: int = 10
    """Runs of each side, by seeds 1, 2, ..."""
    num_envs: int = 8
    rollout_steps: int = 128
    minibatches: int = 4
    epochs: int = 4
    learning_rate: float = 1e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_coef: float = 0.2
    ent_coef: float = 0.03
    """Enough that no run stops exploring before it has found ice; at 0.01 one of six did."""
    vf_coef: float = 0.5
    """As the stock library counts it, of the mean squared error; ours is of half of that, so it gets twice this."""
    max_grad_norm: float = 0.5
    max_turns: int = 500
    """Episodes are truncated after so many turns; without ice a factory lives for 150."""
    reward_scale: float = 1.0
    maps: int = 64

    @property
    def rollout(self) -> int:
        """Turns of a rollout."""
        return self.num_envs * self.rollout_steps

    def env(self) -> SingleRobotEnv:
        """One of the environments, the same for both sides."""
        pool = MapPool(single_robot_config(), range(self.maps))
        return SingleRobotEnv(pool, opening, reward=RewardConfig(scale=self.reward_scale), max_turns=self.max_turns)


class Episode:
    """An ended episode: environment steps of the run when it ended, sum of its rewards, ice brought home, turns."""

    def __init__(self, at: int, total: float, ice: int, turns: int) -> None:
        self.at, self.total, self.ice, self.turns = at, total, ice, turns


# ------------------------------------------------------------------------------------------------------------- our side


class RobotGames:
    """N single robots as the rows that `PPOLearner` acts on: row i is the robot of environment i, of side 2 i.

    Has what `PPOLearner` uses of a `VecEnv`: `reset`, `step`, `reset_done` and `obs`. The mask of a row has a bit for each of the
    environment's choices, and the first column of an action is the number of a choice.
    """

    def __init__(self, envs: Sequence[SingleRobotEnv], seed: int) -> None:
        self.envs, self.seed = list(envs), seed
        self.seen = np.zeros((len(self.envs), ROBOT_WIDTH + SCALARS), np.float32)
        self.over = np.zeros(len(self.envs), bool)
        self.total = np.zeros(len(self.envs))
        self.steps = 0
        self.episodes: list[Episode] = []
        self.obs = Observation(2 * len(self.envs))
        self.obs.planes = np.zeros((2 * len(self.envs), 1, 1, 1), np.float32)  # these games are played without a map
        self.bits = np.int64(1) << np.arange(self.choices, dtype=np.int64)

    @property
    def choices(self) -> int:
        return len(self.envs[0].choices)

    def sizes(self) -> dict[str, Any]:
        """Sizes of the observation, as `Rollout` wants them."""
        return {"entity": ROBOT_WIDTH, "factory": 0, "planes": 1, "plane_size": 1, "scalars": SCALARS, "amounts": [True]}

    def reset(self) -> Observation:
        for i, env in enumerate(self.envs):
            self.seen[i] = env.reset(seed=self.seed + i)[0]
        self.total[:] = 0
        return self._observe(np.arange(len(self.envs)))

    def step(self, action: np.ndarray, override: None = None) -> Step:
        """One turn of every robot, by the choices `action[:, 0]`."""
        count = len(self.envs)
        reward, done, truncated = np.zeros(count, np.float32), np.zeros(count, bool), np.zeros(count, bool)
        finished: list[GameResult] = []
        self.steps += count
        for i, env in enumerate(self.envs):
            self.seen[i], reward[i], done[i], truncated[i], info = env.step(action[i, 0])
            self.total[i] += reward[i]
            if done[i] or truncated[i]:
                self.episodes.append(Episode(self.steps, self.total[i], info["ice"], info["turn"]))
                self.total[i] = 0
                game = env.games.games[0]
                ended = GameResult(
                    game=i,
                    seed=int(game["seed"]),
                    turns=info["turn"],
                    done=bool(done[i]),
                    whole=True,
                    finished=bool(truncated[i]),
                    result=0,
                    ice_got=(info["ice"], 0),
                    lichen=(0, 0),
                    factories=(int(truncated[i]), 1),
                    robots=(int(truncated[i]), 0),
                    robots_refused=(0, 0),
                )
                finished.append(ended)
        self.over = done | truncated
        self._observe(np.flatnonzero(~done))
        return Step(reward, done, truncated, finished)

    def reset_done(self) -> Observation:
        if self.over.any():
            for i in np.flatnonzero(self.over):
                self.seen[i] = self.envs[i].reset()[0]
            self.over[:] = False
            self._observe(np.arange(len(self.envs)))
        return self.obs

    def _observe(self, living: np.ndarray) -> Observation:
        """One row for each of the environments `living` that have a robot."""
        obs = self.obs
        obs.resize(len(living))
        obs.side[:] = 2 * living
        obs.slot[:], obs.kind[:], obs.ident[:], obs.home[:], obs.cell[:] = MAX_FACTORIES, 2, 1, 0, 0
        obs.feature[:] = self.seen[living, :ROBOT_WIDTH]
        obs.scalar[::2] = self.seen[:, ROBOT_WIDTH:]
        for row, i in enumerate(living):
            obs.mask[row] = (self.bits * self.envs[i].action_masks()).sum()
        return obs


class ChoiceDistribution:
    """A masked choice of one number for each row: logits `[M, K]`, legal choices as bits `[M]`."""

    def __init__(self, logits: Tensor, mask: Tensor) -> None:
        self.legal = (mask[:, None] >> torch.arange(logits.shape[1])) & 1 > 0
        self.log_p = logits.masked_fill(~self.legal, -torch.inf).log_softmax(-1)

    def sample(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Actions [M, 4], of which the first column counts, and their log-probs [M]."""
        choice = torch.multinomial(self.log_p.exp(), 1, generator=generator)
        return nn.functional.pad(choice, (0, 3)), self.log_p.gather(1, choice)[:, 0]

    def evaluate(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-prob and entropy [M]."""
        entropy = -(self.log_p.exp() * self.log_p.masked_fill(~self.legal, 0.0)).sum(-1)
        return self.log_p.gather(1, action[:, :1])[:, 0], entropy

    def chooses(self) -> Tensor:
        """[M] bool: every row counts in the means, as in the stock library."""
        return self.legal.any(-1)


class MLP(Backbone):
    """The stock policy's network, with the interface of `agent.policy.Policy` and a backbone's hooks; parameters are in the stock order."""

    def __init__(self, choices: int) -> None:
        super().__init__()
        self.sizes = {"plane_size": 1}
        self.pi, self.vf = (nn.Sequential(linear(ROBOT_WIDTH + SCALARS, 64), nn.Tanh(), linear(64, 64), nn.Tanh()) for _ in range(2))
        self.action = linear(64, choices, 0.01)
        self.value = linear(64, 1, 1.0)

    def forward(self, batch: Batch, stored: dict[str, Tensor] | None = None) -> Output:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Logits [M, choices] and values [M]."""
        seen = torch.cat([batch.feature, batch.scalar[batch.side]], 1)
        return Output(self.action(self.pi(seen)), self.value(self.vf(seen))[:, 0], {})

    def distribution(self, logits: Tensor, mask: Tensor) -> ChoiceDistribution:
        return ChoiceDistribution(logits, mask)

    batch = Policy.batch  # observations become tensors as they do for the game's own policy

    @property
    def extractor(self) -> MLP:
        """Who arranges the planes of a batch."""
        return self

    def arrange(self, planes: Tensor) -> Tensor:
        """As they are; the stock network does not look at them."""
        return planes


def make_trainer(setting: Setting, seed: int) -> PPOLearner:
    """Our `PPOLearner`, with the robots, their network and a rollout for them put in the places of the game's own."""
    config = TrainConfig(
        env_steps=setting.env_steps,
        seed=seed,
        train_maps=1,
        device="cpu",
        grouping=Grouping("all", "all"),
        ppo=PPOConfig(
            num_games=setting.num_envs,
            rollout_steps=setting.rollout_steps,
            epochs=setting.epochs,
            minibatches=setting.minibatches,
            learning_rate=setting.learning_rate,
            gamma=setting.gamma,
            gae_lambda=setting.gae_lambda,
            clip_coef=setting.clip_coef,
            vf_coef=2 * setting.vf_coef,
            ent_coef=setting.ent_coef,
            max_grad_norm=setting.max_grad_norm,
        ),
    )
    trainer = PPOLearner(config)
    games = RobotGames([setting.env() for _ in range(setting.num_envs)], seed)
    places: Any = trainer  # what is put in has the same interfaces, not the same types
    places.env, places.obs = games, games.reset()
    places.policy = MLP(games.choices)
    places.optimizer = torch.optim.Adam(places.policy.parameters(), **trainer.optimizer.defaults)
    places.rollout = Rollout(setting.rollout_steps, setting.num_envs, games.sizes(), trainer.device)
    return trainer


def run_ours(setting: Setting, seed: int) -> list[Episode]:
    """Train our side; returns its episodes."""
    trainer: Any = make_trainer(setting, seed)
    while trainer.env_steps < setting.env_steps:
        trainer.step_iteration()
    return trainer.env.episodes


# ----------------------------------------------------------------------------------------------------------- stock side


def make_stock(setting: Setting, seed: int) -> Any:
    """`MaskablePPO` on the same environments, by the same hyperparameters; its other settings are its defaults."""
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

    return MaskablePPO(
        "MlpPolicy",
        VecMonitor(DummyVecEnv([setting.env] * setting.num_envs)),
        n_steps=setting.rollout_steps,
        batch_size=setting.rollout // setting.minibatches,
        n_epochs=setting.epochs,
        learning_rate=setting.learning_rate,
        gamma=setting.gamma,
        gae_lambda=setting.gae_lambda,
        clip_range=setting.clip_coef,
        ent_coef=setting.ent_coef,
        vf_coef=setting.vf_coef,
        max_grad_norm=setting.max_grad_norm,
        seed=seed,
        device="cpu",
    )


def run_stock(setting: Setting, seed: int) -> list[Episode]:
    """Train the stock side; returns its episodes."""
    from stable_baselines3.common.callbacks import BaseCallback

    episodes: list[Episode] = []

    class Listen(BaseCallback):
        def _on_step(self) -> bool:
            for info in self.locals["infos"]:
                if "episode" in info:
                    episodes.append(Episode(self.num_timesteps, info["episode"]["r"], info["ice"], info["turn"]))
            return True

    make_stock(setting, seed).learn(setting.env_steps, callback=Listen())
    return episodes


# --------------------------------------------------------------------------------------------------------------- report


def curve(episodes: list[Episode], env_steps: int) -> np.ndarray:
    """Mean return of the episodes that ended in each of `WINDOWS` parts of a run; a part without any has that before it."""
    means, latest = np.zeros(WINDOWS), 0.0
    for k in range(WINDOWS):
        low, high = (env_steps * edge // WINDOWS for edge in (k, k + 1))
        ended = [episode.total for episode in episodes if low < episode.at <= high]
        latest = means[k] = float(np.mean(ended)) if ended else latest
    return means


def final(episodes: list[Episode], env_steps: int) -> tuple[float, float, float]:
    """Mean return, ice and turns of the episodes that ended in the last fifth of a run."""
    last = [episode for episode in episodes if episode.at > env_steps * 4 // 5]
    total, ice, turns = (float(np.mean([getattr(episode, name) for episode in last])) for name in ("total", "ice", "turns"))
    return total, ice, turns


def run(setting: Setting, name: str, seed: int) -> dict[str, Any]:
    """Train one side with one seed; its learning curve `[WINDOWS]`, and return, ice and turns at the end."""
    torch.set_num_threads(1)
    episodes = (run_ours if name == OURS else run_stock)(setting, seed)
    ended = final(episodes, setting.env_steps)
    print(f"seed {seed}, {name:12s} final return {ended[0]:7.1f}", flush=True)
    return {"curve": curve(episodes, setting.env_steps).tolist(), "final": ended}


def compare(setting: Setting, record: Path | None = None) -> dict[str, dict[str, np.ndarray]]:
    """Run both sides with every seed, one after the other; by side `curves [seeds, WINDOWS]` and `final [seeds, 3]`.

    Finished runs are written to `record`, and those that it already holds of this setting are not run again.
    """
    same = {name: value for name, value in dataclasses.asdict(setting).items() if name != "seeds"}
    stored: dict[str, Any] = {"setting": same, "runs": {}}
    if record and record.exists():
        before = json.loads(record.read_text(encoding="utf-8"))
        stored = before if before["setting"] == same else stored
    found: dict[str, dict[str, list[Any]]] = {name: {"curves": [], "final": []} for name in (STOCK, OURS)}
    for seed in range(1, setting.seeds + 1):
        for name, rows in found.items():
            key = f"{name} {seed}"
            if key not in stored["runs"]:
                stored["runs"][key] = run(setting, name, seed)
                if record:
                    record.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
            rows["curves"].append(stored["runs"][key]["curve"])
            rows["final"].append(stored["runs"][key]["final"])
    return {name: {key: np.array(values) for key, values in rows.items()} for name, rows in found.items()}


def difference(found: dict[str, dict[str, np.ndarray]], whole: bool = False) -> tuple[float, float]:
    """Ours minus stock in final return (or, of the `whole` run, in the mean of the curve), and its standard error over seeds."""
    ours, stock = (found[name]["curves"].mean(1) if whole else found[name]["final"][:, 0] for name in (OURS, STOCK))
    return float(ours.mean() - stock.mean()), float(np.sqrt(ours.var(ddof=1) / len(ours) + stock.var(ddof=1) / len(stock)))


def table(found: dict[str, dict[str, np.ndarray]], setting: Setting) -> str:
    """The results as a page."""
    (gap, error), (whole_gap, whole_error) = difference(found), difference(found, whole=True)
    lines = [
        "# Agreement with sb3-contrib",
        "",
        "One heavy robot (`wrappers.adapters.gymnasium_env.SingleRobotEnv`) trained by our `PPOLearner` and by the stock",
        "`MaskablePPO`: same environments, network (64-64 tanh), hyperparameters and masks; everything on our side but games,",
        "network and buffer is the code that trains the game. `python -m benchmarks.sb3_agreement` makes this page;",
        f"{setting.seeds} seeds, {setting.env_steps:,} environment steps each, episodes of at most {setting.max_turns} turns.",
        "",
        "| side | final return (mean ± sd) | final ice | final turns | return over the whole run |",
        "|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        columns = [*rows["final"].T, rows["curves"].mean(1)]
        lines.append(f"| {name} | " + " | ".join(f"{x.mean():,.1f} ± {x.std(ddof=1):,.1f}" for x in columns) + " |")
    lines += [
        "",
        "Final is the last fifth of a run; the spread is over seeds. Ours minus stock: "
        f"{gap:+.1f} (standard error {error:.1f}) in final return, {whole_gap:+.1f} (standard error {whole_error:.1f}) over the whole run.",
        "",
        "| seed | " + " | ".join(found) + " |",
        "|---|---|---|",
        *(f"| {k + 1} | " + " | ".join(f"{rows['final'][k, 0]:.1f}" for rows in found.values()) + " |" for k in range(setting.seeds)),
        "",
        "![Learning curves](sb3_agreement.png)",
        "",
        "The two draw actions and minibatches from different random generators, so runs of a seed differ. That they are one",
        "algorithm is shown exactly by `tests/benchmarks/test_sb3_agreement.py`: where the stock loop is made to take our actions and",
        "minibatches, rollouts, advantages and weights stay equal to rounding, update after update.",
        "",
        NOTES,
        "",
        "Hyperparameters: " + ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(setting).items()) + ".",
        "",
    ]
    return "\n".join(lines)


def plot(found: dict[str, dict[str, np.ndarray]], setting: Setting, path: Path) -> None:
    """Learning curves: mean over seeds, and one standard deviation around it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    at = (np.arange(WINDOWS) + 1) * setting.env_steps / WINDOWS
    figure, axis = plt.subplots(figsize=(7, 4))
    for name, rows in found.items():
        mean, spread = rows["curves"].mean(0), rows["curves"].std(0)
        axis.plot(at, mean, label=f"{name}, {len(rows['curves'])} seeds")
        axis.fill_between(at, mean - spread, mean + spread, alpha=0.2)
    axis.set_xlabel("environment steps")
    axis.set_ylabel("return of an episode")
    axis.set_title("One heavy robot: our PPOLearner and the stock MaskablePPO")
    axis.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(setting: Setting, folder: Path = RESULTS) -> None:
    """Compare, and write the page and the plot into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = compare(setting, folder / "sb3_agreement.json")
    (folder / "sb3_agreement.md").write_text(table(found, setting), encoding="utf-8")
    plot(found, setting, folder / "sb3_agreement.png")
    gap, error = difference(found)
    print(f"Final return, ours minus stock: {gap:+.1f}, standard error {error:.1f}; written to {folder}.")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))
