"""Agreement with a stock library: our IQL with one agent and stable-baselines3's `DQN` learn the same thing.

The task is `blind_particles` with one agent, which has to stay near a landmark. Both sides have the same network (64-64
ReLU), the same input (observation, last action, and the constant that tells our agents their seat), batches of as many
transitions, the same optimiser, schedules and target copies. Ours is `QLearner` as it is, with feed-forward agents. Left to
differ: it samples whole episodes, the stock one single transitions, and its loss is squared where the stock one is Huber's,
which is the same for errors below 1, as here.

`python -m benchmarks.dqn_agreement` writes docs/results/dqn_agreement.md, .png and .json; about a minute a seed.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

from arena.plots import COLORS, save_png
from reproduce.claims.plots import plain_axes
from reproduce.tasks import make_task
from reproduce.tasks.learn import EVALUATION_SEED
from reproduce.tasks.q_learn import QConfig, QLearner
from training.value_based.nets import NetConfig

RESULTS = Path("docs/results")
STOCK, OURS = "DQN", "QLearner"
OPTIONS = {"group_size": 1, "colours": 1, "horizon": 25}
ADAM_EPS = 1e-5


@dataclass(frozen=True)
class Setting:
    """What both sides share."""

    seeds: int = 5
    env_steps: int = 15_000
    epsilon_steps: int = 5_000
    updates_per_episode: int = 4
    batch: int = 16
    """Episodes, and as many transitions on the stock side as they have."""
    learning_rate: float = 1e-3
    gamma: float = 0.95
    target_interval: int = 40
    """Gradient steps between copies."""
    reward_scale: float = 0.1
    hidden: int = 64
    evaluations: int = 15
    eval_episodes: int = 64


def our_config(setting: Setting, seed: int) -> QConfig:
    """The setting for our learner."""
    return QConfig(
        task="blind_particles",
        options=OPTIONS,
        algo="iql",
        net=NetConfig(hidden=setting.hidden, recurrent=False),
        seed=seed,
        env_steps=setting.env_steps,
        envs=1,
        updates_per_episode=setting.updates_per_episode,
        batch=setting.batch,
        optimizer="adam",
        learning_rate=setting.learning_rate,
        gamma=setting.gamma,
        reward_scale=setting.reward_scale,
        epsilon_steps=setting.epsilon_steps,
        target_interval=setting.target_interval,
        evaluations=setting.evaluations,
        eval_episodes=setting.eval_episodes,
    )


def seen(observation: np.ndarray, action: np.ndarray, actions: int) -> np.ndarray:
    """What our net makes its input of: observations `[E, D]`, last actions `[E]` (-1: none) one-hot, and a 1 for the only seat."""
    played = np.eye(actions + 1, dtype=np.float32)[action + 1][:, 1:]
    return np.concatenate([observation, played, np.ones((len(action), 1), np.float32)], 1)


class OneAgent(gymnasium.Env):
    """A task's single agent as a gymnasium environment."""

    def __init__(self, setting: Setting, seed: int):
        self.task = make_task("blind_particles", 1, seed, **OPTIONS)
        self.scale = setting.reward_scale
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (self.task.features + self.task.actions + 1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(self.task.actions)

    def look(self, action: int) -> np.ndarray:
        return seen(self.task.observe()[:, 0], np.array([action]), self.task.actions)[0]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.task.restart(np.ones(1, np.bool_))
        return self.look(-1), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        step = self.task.step(np.array([[int(action)]]))
        return self.look(int(action)), self.scale * float(step.reward[0, 0]), bool(step.done[0]), bool(step.truncated[0]), {}


def make_stock(setting: Setting, seed: int) -> Any:
    """The stock library's learner on the same task."""
    from stable_baselines3 import DQN

    horizon = OPTIONS["horizon"]
    return DQN(
        "MlpPolicy",
        OneAgent(setting, seed),
        learning_rate=setting.learning_rate,
        buffer_size=5000 * horizon,
        learning_starts=setting.batch * horizon,
        batch_size=setting.batch * horizon,
        gamma=setting.gamma,
        train_freq=(1, "episode"),
        gradient_steps=setting.updates_per_episode,
        target_update_interval=setting.target_interval * horizon // setting.updates_per_episode,
        exploration_fraction=setting.epsilon_steps / setting.env_steps,
        exploration_initial_eps=1.0,
        exploration_final_eps=0.05,
        max_grad_norm=10.0,
        policy_kwargs={"net_arch": [setting.hidden, setting.hidden], "optimizer_kwargs": {"eps": ADAM_EPS}},
        seed=seed,
        device="cpu",
    )


@torch.no_grad()
def stock_return(model: Any, setting: Setting, seed: int) -> float:
    """As `QLearner.evaluate`: greedy, on the same unseen episodes."""
    task = make_task("blind_particles", setting.eval_episodes, EVALUATION_SEED + seed, **OPTIONS)
    total, action = np.zeros(task.envs), np.full(task.envs, -1)
    for _ in range(task.horizon):
        q_values = model.q_net(torch.from_numpy(seen(task.observe()[:, 0], action, task.actions)))
        action = q_values.argmax(1).numpy()
        total += task.step(action[:, None]).reward[:, 0]
    return float(total.mean())


def run_stock(setting: Setting, seed: int) -> dict[str, list[float]]:
    """Learning curve of the stock learner."""
    from stable_baselines3.common.callbacks import BaseCallback

    every = setting.env_steps // setting.evaluations

    class Watch(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.curve: dict[str, list[float]] = {"env_steps": [], "return": []}

        def look(self) -> None:
            self.curve["env_steps"].append(self.num_timesteps)
            self.curve["return"].append(stock_return(self.model, setting, seed))

        def _on_training_start(self) -> None:
            self.look()

        def _on_step(self) -> bool:
            if self.num_timesteps % every == 0:
                self.look()
            return True

    watch = Watch()
    make_stock(setting, seed).learn(setting.env_steps, callback=watch)
    return watch.curve


def compare(setting: Setting) -> dict[str, list[dict[str, list[float]]]]:
    """Curves of both sides, a seed each."""
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, list[float]]]] = {STOCK: [], OURS: []}
    for seed in range(1, setting.seeds + 1):
        found[STOCK].append(run_stock(setting, seed))
        found[OURS].append(QLearner(our_config(setting, seed)).run()["curve"])
        last = ", ".join(f"{name} {curves[-1]['return'][-1]:.2f}" for name, curves in found.items())
        print(f"seed {seed}: {last}", flush=True)
    return found


def figures(found: dict[str, list[dict[str, list[float]]]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of both sides, by seed: the return at the end (mean of the last three evaluations), and over the whole run but its start."""
    return {
        name: (np.array([np.mean(c["return"][-3:]) for c in curves]), np.array([np.mean(c["return"][1:]) for c in curves]))
        for name, curves in found.items()
    }


def gaps(found: dict[str, list[dict[str, list[float]]]]) -> list[tuple[float, float]]:
    """Ours minus stock with its standard error, at the end and over the whole run."""
    numbers = figures(found)
    out = []
    for ours, stock in zip(numbers[OURS], numbers[STOCK]):
        out.append((float(ours.mean() - stock.mean()), float(np.sqrt(ours.var(ddof=1) / len(ours) + stock.var(ddof=1) / len(stock)))))
    return out


def table(found: dict[str, list[dict[str, list[float]]]], setting: Setting) -> str:
    """The page."""
    (end, end_error), (whole, whole_error) = gaps(found)
    lines = [
        "# Agreement with stable-baselines3's DQN",
        "",
        "```\npython -m benchmarks.dqn_agreement\n```",
        "",
        "One agent that has to stay near a landmark (`blind_particles` with one agent), trained by our `QLearner` (IQL, feed-forward) and",
        f"by the stock `DQN`: same input, network, batch size, optimiser and schedules. {setting.seeds} seeds.",
        "",
        "| side | return at the end (mean ± sd) | return over the whole run |",
        "|---|---:|---:|",
    ]
    for name, (ends, wholes) in figures(found).items():
        lines.append(f"| {name} | {ends.mean():.2f} ± {ends.std(ddof=1):.2f} | {wholes.mean():.2f} ± {wholes.std(ddof=1):.2f} |")
    lines += [
        "",
        f"The end is the mean of the last three evaluations. Ours minus stock: {end:+.2f} (standard error {end_error:.2f}) at the end, "
        f"{whole:+.2f} (standard error {whole_error:.2f}) over the whole run. An update from equal weights and equal transitions has "
        "equal gradients (`tests/benchmarks/test_dqn_agreement.py`).",
        "",
        "![Learning curves](dqn_agreement.png)",
        "",
        "Settings: " + ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(setting).items()) + ".",
        "",
    ]
    return "\n".join(lines)


def plot(found: dict[str, list[dict[str, list[float]]]]) -> Figure:
    """Mean over seeds, lowest to highest."""
    figure = Figure(figsize=(6.4, 4.0), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for color, (name, curves) in zip(COLORS, found.items()):
        values = np.array([curve["return"] for curve in curves])
        axes.plot(curves[0]["env_steps"], values.mean(0), color=color, label=f"{name}, {len(curves)} seeds")
        axes.fill_between(curves[0]["env_steps"], values.min(0), values.max(0), color=color, alpha=0.15, linewidth=0)
    plain_axes(axes, xlabel="environment steps", ylabel="return", title="One agent: our QLearner and the stock DQN")
    axes.legend(frameon=False)
    return figure


def main(setting: Setting, folder: Path = RESULTS) -> None:
    """Compare, and write page, plot and curves into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = compare(setting)
    (folder / "dqn_agreement.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    (folder / "dqn_agreement.md").write_text(table(found, setting), encoding="utf-8")
    save_png(plot(found), folder / "dqn_agreement.png")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))
