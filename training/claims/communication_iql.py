"""Fully independent communication (arXiv:2401.15059) by independent Q-learning, as published: `reproduce communication --algo iql`."""

from __future__ import annotations

from typing import Any, NamedTuple

from matplotlib.figure import Figure

from training.claims.communication import MESSAGES, SHARING, alone
from training.claims.experiment import Claim, Experiment, Row, Rows, Verdict, ahead, difference
from training.claims.plots import panels, plain_axes
from training.plots import COLORS
from training.value_based.learn import QConfig, QLearner
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


class Setting(NamedTuple):
    title: str
    learning: dict[str, Any]
    sizes: tuple[int, ...]


SETTINGS = {
    "cue": Setting("cue", CUE, SIZES),
    "hunt": Setting("predator-prey, lone attempt -0.25, 50 steps", HUNT, (32, 128)),
}


def config(setting: Setting, sharing: str, messages: str, size: int) -> QConfig:
    """The published learner on this task."""
    return QConfig(algo="iql", net=NetConfig(sharing=NETS[sharing], messages=messages, hidden=size), **setting.learning)


def rows() -> dict[str, Row]:
    return {
        f"{name}_{sharing}_{messages}_{size}": Row(
            f"{setting.title}, {SHARING[sharing]}, {MESSAGES[messages]}, h {size}", config(setting, sharing, messages, size)
        )
        for name, setting in SETTINGS.items()
        for size in setting.sizes
        for sharing in SHARING
        for messages in MESSAGES
    }


def measure(learner: QLearner) -> dict:
    """Gradient steps made."""
    return {"updates": learner.updates}


def helps(name: str, sharing: str, size: int, other: str, paper: str) -> Claim:
    """Learned messages are ahead of a control."""
    one, rest = (f"{name}_{sharing}_{messages}_{size}" for messages in ("learned", other))
    control = {"none": "of none", "frozen": "of frozen random ones"}[other]
    text = f"{SETTINGS[name].title}, {SHARING[sharing]}, h {size}: learned messages ahead {control}"
    return Claim(text, paper, (one, rest), ahead(one, rest), REASONS[name][other])


def sharing_leads(name: str, size: int) -> Claim:
    """Independence costs something."""
    one, other = f"{name}_shared_learned_{size}", f"{name}_slot_learned_{size}"
    text = f"{SETTINGS[name].title}, h {size}: with messages, sharing is ahead of independence"
    return Claim(text, "independent learners lag behind", (one, other), ahead(one, other), REASONS[name]["lag"])


def size_replaces(name: str, sharing: str) -> Claim:
    """What messages add is less in a larger network."""
    small, large = SETTINGS[name].sizes[0], SETTINGS[name].sizes[-1]
    needs = tuple(f"{name}_{sharing}_{messages}_{size}" for size in (small, large) for messages in ("learned", "none"))

    def judge(rows: Rows) -> Verdict:
        added = {
            size: difference(rows[f"{name}_{sharing}_learned_{size}"], rows[f"{name}_{sharing}_none_{size}"]) for size in (small, large)
        }
        ours = ", ".join(f"{by:+.2f} (error {error:.2f}) at h {size}" for size, (by, error) in added.items())
        return Verdict(f"messages add {ours}", added[large][0] < added[small][0])

    text = f"{SETTINGS[name].title}, {SHARING[sharing]}: messages add less in the larger network"
    return Claim(text, "capacity can replace communication", needs, judge, REASONS[name]["size"])


def claims() -> list[Claim]:
    """For every setting: against none, against frozen ones, sharing against independence, and the sizes."""
    out = []
    for name, setting in SETTINGS.items():
        for sharing in SHARING:
            for size in setting.sizes:
                paper = "learned ahead of none" if sharing == "slot" else "more so with sharing"
                out += [helps(name, sharing, size, "none", paper), helps(name, sharing, size, "frozen", "not in the paper")]
        out += [sharing_leads(name, size) for size in setting.sizes]
        out += [size_replaces(name, sharing) for sharing in SHARING]
    return out


REASONS: dict[str, dict[str, str]] = {
    "cue": {"none": "", "frozen": "", "lag": "", "size": ""},
    "hunt": {"none": "", "frozen": "", "lag": "", "size": ""},
}


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
    rows=rows(),
    measure=measure,
    claims=claims(),
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
