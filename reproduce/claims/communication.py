"""Fully independent communication (arXiv:2401.15059) against its controls, with and without sharing: `reproduce communication`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from arena.plots import COLORS
from reproduce.claims.experiment import Experiment, Row
from reproduce.claims.judges import Claim, Judged, Rows, ahead, by_seed
from reproduce.claims.plots import panels, plain_axes
from reproduce.tasks.cue import CueConfig
from reproduce.tasks.learn import LearnConfig, Learner
from reproduce.verdicts import more

MESSAGES = {"learned": "learned messages", "frozen": "frozen random messages", "none": "no messages"}
SHARING = {"slot": "independent", "shared": "shared"}
SIZES = (32, 128)
AGENTS = 4
HUNT: dict[str, Any] = {"task": "predator_prey", "env_steps": 160_000, "envs": 64, "rollout_steps": 25, "gamma": 0.97, "ent_coef": 0.02}
CUE: dict[str, Any] = {"task": "cue", "env_steps": 60_000, "envs": 64, "rollout_steps": 8, "minibatches": 2, "reward_scale": 1.0}


class Setting(NamedTuple):
    title: str
    learning: dict[str, Any]
    sizes: tuple[int, ...]


SETTINGS = {
    "cue": Setting("cue", {**CUE, "eval_episodes": 256}, SIZES),
    "hunt": Setting("predator-prey, lone attempt -0.25", {**HUNT, "options": {"lone_attempt": -0.25}}, SIZES),
    "published": Setting("predator-prey as published", {**HUNT, "env_steps": 80_000}, SIZES[:1]),
}


def config(setting: Setting, sharing: str, messages: str, size: int) -> LearnConfig:
    """Without sharing, no parameter is common to two agents."""
    method = {"sharing": sharing, "messages": messages, "slots": AGENTS, "kinds": 1, "hearing": "ordered", "layers": 2, "hidden": size}
    separate = sharing == "slot"
    return LearnConfig(backbone="communication", method=method, input_layer=False, separate=separate, width=size, **setting.learning)


def rows_of(settings: Mapping[str, Setting], config: Callable[[Setting, str, str, int], Any]) -> dict[str, Row]:
    """Every setting, size, kind of sharing and of messages; `config` makes the run of a row."""
    return {
        f"{name}_{sharing}_{messages}_{size}": Row(
            f"{setting.title}, {SHARING[sharing]}, {MESSAGES[messages]}, h {size}", config(setting, sharing, messages, size)
        )
        for name, setting in settings.items()
        for size in setting.sizes
        for sharing in SHARING
        for messages in MESSAGES
    }


def measure(learner: Learner) -> dict:
    """Nothing but the return."""
    return {}


def helps(name: str, setting: Setting, sharing: str, size: int, other: str, paper: str) -> Claim:
    """Learned messages are ahead of a control."""
    one, rest = (f"{name}_{sharing}_{messages}_{size}" for messages in ("learned", other))
    control = {"none": "of none", "frozen": "of frozen random ones"}[other]
    text = f"{setting.title}, {SHARING[sharing]}, h {size}: learned messages ahead {control}"
    return Claim(text, paper, (one, rest), ahead(one, rest))


def sharing_leads(name: str, setting: Setting, size: int) -> Claim:
    """Independence costs something."""
    one, other = f"{name}_shared_learned_{size}", f"{name}_slot_learned_{size}"
    text = f"{setting.title}, h {size}: with messages, sharing is ahead of independence"
    return Claim(text, "independent learners lag behind", (one, other), ahead(one, other))


def added(rows: Rows, name: str, sharing: str, size: int) -> dict[int, float]:
    """What messages add to the return, by seed."""
    learned, none = (by_seed(rows[f"{name}_{sharing}_{messages}_{size}"]) for messages in ("learned", "none"))
    return {seed: learned[seed] - none[seed] for seed in learned.keys() & none.keys()}


def size_replaces(name: str, setting: Setting, sharing: str) -> Claim:
    """What messages add is less in a larger network."""
    ends = setting.sizes[0], setting.sizes[-1]
    needs = tuple(f"{name}_{sharing}_{messages}_{size}" for size in ends for messages in ("learned", "none"))

    def judge(rows: Rows) -> Judged:
        small, large = (added(rows, name, sharing, size) for size in ends)
        ours = ", ".join(f"{np.mean(list(by.values())):+.2f} at h {size}" for size, by in zip(ends, (small, large)))
        return Judged(f"messages add {ours}", more(small, large))

    text = f"{setting.title}, {SHARING[sharing]}: messages add less in the larger network"
    return Claim(text, "capacity can replace communication", needs, judge)


def claims_of(settings: Mapping[str, Setting]) -> list[Claim]:
    """For every setting: against none, against frozen ones, sharing against independence; and sizes where there are several."""
    out = []
    for name, setting in settings.items():
        for sharing in SHARING:
            for size in setting.sizes:
                paper = "learned ahead of none" if sharing == "slot" else "more so with sharing"
                for other, said in (("none", paper), ("frozen", "not in the paper")):
                    out.append(helps(name, setting, sharing, size, other, said))
        out += [sharing_leads(name, setting, size) for size in setting.sizes]
        if len(setting.sizes) > 1:
            out += [size_replaces(name, setting, sharing) for sharing in SHARING]
    return out


def plots(rows: Rows) -> dict[str, tuple[str, Figure]]:
    """Final returns side by side."""
    figure, every = panels(len(SETTINGS), size=(5.0, 4.0))
    for axes, (name, setting) in zip(every, SETTINGS.items()):
        ticks = []
        for place, (sharing, size) in enumerate((sharing, size) for sharing in SHARING for size in setting.sizes):
            ticks.append(f"{SHARING[sharing]}\nh {size}")
            for i, (messages, title) in enumerate(MESSAGES.items()):
                values = [run["measures"]["final"] for run in rows.get(f"{name}_{sharing}_{messages}_{size}", [])]
                if values:
                    at = place + 0.22 * (i - 1)
                    axes.plot([at] * len(values), values, ".", color=COLORS[i], alpha=0.6)
                    label = title if place == 0 else None
                    axes.plot([at - 0.08, at + 0.08], [sum(values) / len(values)] * 2, color=COLORS[i], linewidth=2.5, label=label)
        axes.set_xticks(range(len(ticks)), ticks)
        if name == "cue":
            axes.axhline(alone(), color="black", linewidth=0.8, linestyle=":", label="best without messages")
        plain_axes(axes, title=setting.title, ylabel="return")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=7)
    return {"final": ("Return of the trained policies: a dot each seed, a bar their mean.", figure)}


def alone() -> float:
    """The best mean reward on the cue task of agents that know nothing of each other."""
    task = CueConfig()
    return task.own + (1.0 - task.own) / task.symbols


def about() -> str:
    """What was run, for the page."""
    return (
        "Two tasks of 4 agents. Predator-prey is the paper's: 7x7 cells, 2 prey, a capture (+5) needs two predators, a lone "
        "attempt costs 0.75, a step 0.01, 100 steps; and beside it the same with a lone attempt at 0.25, at which PPO learns to "
        "hunt. `cue` is made so that messages matter: an agent sees a symbol among distractors and must name it or, half of the "
        f"time, the one that a certain other agent sees; without messages {alone():.3f} is the best there is, with them 1. "
        "*Independent* agents have no common parameter and hear the others' messages detached; *shared* ones are one network that "
        "is told the seat, and gradients pass through messages. The network is the paper's without its recurrent cell: the "
        "message net 64, 64, 10 reads the observation, then two layers of width h. The paper learns by independent Q-learning, "
        "here it is PPO, so messages of others are data of the rollout. The *frozen* control, messages of random nets that never "
        "learn, is not in the paper."
    )


EXPERIMENT = Experiment(
    name="communication",
    title="Fully independent communication, off the game",
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
)
