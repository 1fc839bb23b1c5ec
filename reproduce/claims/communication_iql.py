"""Fully independent communication (arXiv:2401.15059) by independent Q-learning, as published: `reproduce communication --algo iql`."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from arena.plots import COLORS
from reproduce.claims.communication import MESSAGES, SHARING, Setting, alone, claims_of, rows_of
from reproduce.claims.experiment import Experiment
from reproduce.claims.judges import Rows
from reproduce.claims.plots import panels, plain_axes
from reproduce.tasks.q_learn import QConfig, QLearner
from training.value_based.nets import NetConfig

SIZES = (32, 64, 128)
NETS = {"slot": "separate", "shared": "shared"}
CUE: dict[str, Any] = {
    "task": "cue",
    "env_steps": 60_000,
    "epsilon_steps": 30_000,
    "envs": 64,
    "updates_per_episode": 1 / 64,
    "batch": 128,
    "eval_episodes": 256,
}
HUNT: dict[str, Any] = {
    "task": "predator_prey",
    "options": {"horizon": 50, "lone_attempt": -0.25},
    "env_steps": 20_000,
    "epsilon_steps": 8_000,
    "gamma": 0.97,
    "reward_scale": 0.2,
    "target_interval": 50,
}


SETTINGS = {
    "cue": Setting("cue", CUE, SIZES),
    "hunt": Setting("predator-prey, lone attempt -0.25, 50 steps", HUNT, (32, 128)),
}


def config(setting: Setting, sharing: str, messages: str, size: int) -> QConfig:
    """The published learner on this task."""
    return QConfig(algo="iql", net=NetConfig(sharing=NETS[sharing], messages=messages, hidden=size), **setting.learning)


def measure(learner: QLearner) -> dict:
    """Gradient steps made."""
    return {"updates": learner.updates}


def plots(rows: Rows) -> dict[str, tuple[str, Figure]]:
    """Final returns over the network's width."""
    figure, every = panels(len(SETTINGS) * len(SHARING), columns=2, size=(5.0, 3.8))
    for axes, (name, sharing) in zip(every, ((name, sharing) for name in SETTINGS for sharing in SHARING)):
        sizes = SETTINGS[name].sizes
        for color, (messages, title) in zip(COLORS, MESSAGES.items()):
            there = [(i, rows[row]) for i, size in enumerate(sizes) if (row := f"{name}_{sharing}_{messages}_{size}") in rows]
            values = [[run["measures"]["final"] for run in found] for _, found in there]
            axes.plot([i for i, _ in there], [sum(v) / len(v) for v in values], "o-", color=color, label=title, linewidth=1.6)
            for (i, _), value in zip(there, values):
                axes.plot([i] * len(value), value, ".", color=color, alpha=0.5)
        axes.set_xticks(range(len(sizes)), [f"h {size}" for size in sizes])
        if name == "cue":
            axes.axhline(alone(), color="black", linewidth=0.8, linestyle=":", label="best without messages")
        plain_axes(axes, title=f"{SETTINGS[name].title}, {SHARING[sharing]}", ylabel="return")
        axes.legend(frameon=False, fontsize=7)
    return {"final": ("Return of the trained agents by width of their network: means, and a dot each seed.", figure)}


def about() -> str:
    """What was run, for the page."""
    return (
        "The learner is the paper's: independent Q-learning, agents of one ReLU layer and a GRU cell of width h that see their "
        "observation, their last action and messages of a net 64, 64, 10; RMSprop 5e-4, batches of 32 episodes of 5,000, one gradient "
        "step an episode, epsilon from 1 to 0.05, target copy every 200 steps (predator-prey: 50, since its runs have less than 1,000). "
        "*Independent* agents share no parameter, hear the others detached and themselves attached; *shared* ones are one network "
        "that is told the seat and learns through what it hears. The *frozen* control, messages of random nets that never learn, is "
        f"not in the paper. Two tasks of 4 agents: `cue`, where without messages {alone():.3f} is the best there is and with them 1 (an "
        "episode is one step, so batches are 128, and one gradient step comes every 64 episodes); and the paper's predator-prey with a "
        "lone attempt at 0.25 in place of 0.75 and 50 steps in place of 100, so that something is learned in runs this short."
    )


EXPERIMENT = Experiment(
    name="communication_iql",
    title="Fully independent communication by Q-learning, off the game",
    about=about(),
    rows=rows_of(SETTINGS, config),
    measure=measure,
    claims=claims_of(SETTINGS),
    plots=plots,
    panels={
        f"{setting.title}, {title}": tuple(f"{name}_{sharing}_{messages}_{size}" for size in setting.sizes for messages in MESSAGES)
        for name, setting in SETTINGS.items()
        for sharing, title in SHARING.items()
    },
    learner=QLearner,
    plays="actions greedy",
    command="communication --algo iql",
)
