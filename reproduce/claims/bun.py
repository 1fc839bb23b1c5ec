"""The bottom-up network (BUN, arXiv:2410.02516) against dense and unconnected teams: `reproduce bun`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from agent.backbones.bun import BUNBackbone
from arena.plots import COLORS
from reproduce.claims.experiment import FINAL_EPISODES, Experiment, Row
from reproduce.claims.judges import Claim, Number, Rows, above_number, ahead, at_most, final, gain, keeps, less, mostly
from reproduce.claims.plots import panels, plain_axes
from reproduce.tasks.cue import Cue
from reproduce.tasks.disturbed import Disturbance, adversary, bias, gaussian, missing
from reproduce.tasks.learn import LearnConfig, Learner
from training.run.runs import Run

TEAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("dense team", {"connections": "dense"}),
    "blocks": ("blocks only", {"connections": "blocks"}),
    "grown": ("BUN, 0.5 %", {"budget": 0.005}),
    "grown_6": ("BUN, 6 %", {"budget": 0.06}),
    "random": ("random growth, 0.5 %", {"budget": 0.005, "grow_by": "random"}),
}
TASKS: dict[str, tuple[int, dict[str, Any]]] = {  # agents, settings
    "navigation": (
        5,
        {
            "task": "blind_particles",
            "options": {"group_size": 1, "colours": 5},
            "env_steps": 60_000,
            "envs": 16,
            "rollout_steps": 50,
            "gamma": 0.9,
            "learning_rate": 2e-3,
        },
    ),
    "cue": (
        6,
        {
            "task": "cue",
            "options": {"agents": 6},
            "env_steps": 50_000,
            "envs": 64,
            "rollout_steps": 8,
            "minibatches": 2,
            "reward_scale": 1.0,
            "eval_episodes": 256,
        },
    ),
    "spread": (
        5,
        {
            "task": "spread",
            "options": {"agents": 5},
            "env_steps": 240_000,
            "envs": 128,
            "rollout_steps": 25,
            "reward_scale": 0.1,
            "learning_rate": 2e-3,
        },
    ),
}
NOISE = (0.1, 0.2, 0.4, 0.8)  # standard deviations
DISTURBED: dict[str, tuple[str, list[Disturbance]]] = {  # of the observations: what it is called, and in which strengths
    "gaussian": ("Gaussian noise", [gaussian(size) for size in NOISE]),
    "bias": ("a bias", [bias(size) for size in (0.1, 0.2, 0.4)]),
    "missing": ("missing numbers", [missing(share) for share in (0.1, 0.2, 0.4)]),
    "adversary": ("an adversary", [adversary(size) for size in (0.05, 0.1, 0.2)]),
}
PLANTED, PAIRS = 6, 30  # edges of the cue task: one a teacher; ordered pairs of its agents


def config(task: str, method: dict[str, Any]) -> LearnConfig:
    seats, settings = TASKS[task]
    team = {"agents": "slots", "seats": seats, "hidden": 64, "shared": False, **method}
    return LearnConfig(backbone="bun", method=team, input_layer=False, separate=True, width=32, **settings)


def rows() -> dict[str, Row]:
    return {f"{task}_{name}": Row(f"{task}, {title}", config(task, method)) for task in TASKS for name, (title, method) in TEAMS.items()}


def measure(learner: Learner) -> dict:
    """Returns under disturbed observations, on the same episodes each; connections between agents; which were planted."""
    backbone, task = learner.policy.backbone, learner.task
    assert isinstance(backbone, BUNBackbone)
    edges = backbone.edges().numpy()
    out: dict[str, Any] = {
        name: [learner.evaluate(FINAL_EPISODES, disturb, seed=1) for disturb in strengths] for name, (_, strengths) in DISTURBED.items()
    }
    out["edges"] = edges.tolist()
    if isinstance(task, Cue):
        planted = np.zeros_like(edges)
        planted[np.arange(task.agents), task.teacher] = 1
        out["planted"] = planted.tolist()
    return out


def flops(run: Run) -> float:
    return run["stats"]["flops"]


def lost(kind: str) -> Number:
    """Share of what was gained over random play that a disturbance takes, the mean over its strengths."""
    return lambda run: float(np.mean([final(run) - value for value in run["measures"][kind]])) / gain(run)


def recall_precision(run: Run) -> tuple[float, float]:
    """Of the planted edges: share that was grown, and share of the grown weights that lie on them."""
    edges, planted = np.array(run["measures"]["edges"]), np.array(run["measures"]["planted"]) > 0
    return float((edges[planted] > 0).mean()), float(edges[planted].sum() / max(edges.sum(), 1))


def precision(run: Run) -> float:
    return recall_precision(run)[1]


def pairs(run: Run) -> int:
    """Ordered pairs of agents that are connected."""
    return int((np.array(run["measures"]["edges"]) > 0).sum())


def all_found(runs: Sequence[Run]) -> str:
    return f"recall {', '.join(f'{recall_precision(run)[0]:.2f}' for run in runs)}"


def connected(runs: Sequence[Run]) -> str:
    return f"{', '.join(str(pairs(run)) for run in runs)} of {PAIRS} pairs"


def claims() -> list[Claim]:
    out = []
    for task in TASKS:
        grown, dense, blocks, anywhere = (f"{task}_{name}" for name in ("grown", "dense", "blocks", "random"))
        out += [
            Claim(f"{task}: at least 95 % of the dense team's gain", "comparable", (grown, dense), keeps(grown, dense, 0.95)),
            Claim(f"{task}: at most 25 % of the dense team's FLOPs", "25 %", (grown, dense), at_most(grown, dense, flops, 0.25)),
            Claim(
                f"{task}: growing brings something: ahead of the blocks alone",
                "coordination where needed",
                (grown, blocks),
                ahead(grown, blocks),
            ),
            Claim(
                f"{task}: the gradient chooses well: ahead of random growth",
                "grown by the gradient",
                (grown, anywhere),
                ahead(grown, anywhere),
            ),
        ]
        for kind, (title, _) in DISTURBED.items():
            paper = "more robust" if kind == "gaussian" else "not in the paper"
            text = f"{task}: {title} takes a smaller share of the gain than of the dense team's"
            out.append(Claim(text, paper, (grown, dense), less(grown, dense, lost(kind), "loses")))
    grown = "cue_grown"
    return [
        *out,
        Claim(
            "cue: every planted dependency is found, in most seeds",
            "a small budget recovers the graph",
            (grown,),
            mostly(grown, lambda run: recall_precision(run)[0] == 1.0, all_found),
        ),
        Claim(
            "cue: more than twice as many grown weights as by chance lie on planted dependencies",
            "a small budget recovers the graph",
            (grown,),
            above_number(grown, precision, 2 * PLANTED / PAIRS, f"precision (by chance {PLANTED / PAIRS:.2f})"),
        ),
        Claim(
            "cue: a large budget adds noise edges (less precision)",
            "6 % adds noise edges",
            ("cue_grown_6", grown),
            less("cue_grown_6", grown, precision, "precision"),
        ),
        Claim(
            "cue: at most half of the pairs are connected, in most seeds",
            "sparse, readable",
            (grown,),
            mostly(grown, lambda run: pairs(run) <= PAIRS / 2, connected),
        ),
    ]


def plots(rows: Rows) -> dict[str, tuple[str, Figure]]:
    """FLOPs against return, the noise sweep, and the grown graphs."""
    return {
        "flops": ("Return over FLOPs of a decision: a dot each seed.", flops_plot(rows)),
        "noise": (
            "Share of the gain over random play that Gaussian observation noise takes: mean over seeds, lowest to highest.",
            noise_plot(rows),
        ),
        "graph": (
            "Weights grown between agents, from the agent of a column to that of a row, summed over seeds; frames are planted "
            "dependencies.",
            graph_plot(rows),
        ),
    }


def flops_plot(rows: Rows) -> Figure:
    figure, every = panels(len(TASKS), size=(4.8, 3.9))
    for axes, task in zip(every, TASKS):
        for color, (name, (title, _)) in zip(COLORS, TEAMS.items()):
            found = rows.get(f"{task}_{name}", [])
            axes.plot([flops(run) for run in found], [final(run) for run in found], "o", color=color, label=title, alpha=0.8)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:.0f}k")
        plain_axes(axes, title=task, xlabel="FLOPs a decision", ylabel="return")
        axes.legend(frameon=False, fontsize=8)
    return figure


def noise_plot(rows: Rows) -> Figure:
    figure, every = panels(len(TASKS), size=(4.8, 3.9))
    for axes, task in zip(every, TASKS):
        for color, (name, (title, _)) in zip(COLORS, TEAMS.items()):
            found = rows.get(f"{task}_{name}", [])
            losses = np.array([[(final(run) - value) / gain(run) for value in run["measures"]["gaussian"]] for run in found])
            if len(losses):
                axes.plot(NOISE, losses.mean(0), "o-", color=color, label=title, linewidth=1.6)
                axes.fill_between(NOISE, losses.min(0), losses.max(0), color=color, alpha=0.12, linewidth=0)
        plain_axes(axes, title=task, xlabel="deviation of the noise", ylabel="share of the gain lost")
        axes.legend(frameon=False, fontsize=8)
    return figure


def graph_plot(rows: Rows) -> Figure:
    shown = [
        (f"{task}, {TEAMS[name][0]}", rows[f"{task}_{name}"]) for task in TASKS for name in ("grown", "grown_6") if f"{task}_{name}" in rows
    ]
    figure, every = panels(max(len(shown), 1), columns=2, size=(3.8, 3.8))
    for axes, (title, runs) in zip(every, shown):
        graph(axes, np.sum([run["measures"]["edges"] for run in runs], axis=0), runs[0]["measures"].get("planted"), title)
    return figure


def graph(axes: Axes, edges: np.ndarray, planted: list | None, title: str) -> None:
    """A matrix of counts, darker for more."""
    axes.imshow(edges, cmap="Blues")
    for (i, j), count in np.ndenumerate(edges):
        if i != j and count:
            axes.text(j, i, str(count), ha="center", va="center", fontsize=8, color="white" if count > 0.6 * edges.max() else "black")
        if planted is not None and planted[i][j]:
            axes.add_patch(frame(j, i))
    axes.set(title=title, xlabel="from agent", ylabel="to agent", xticks=range(len(edges)), yticks=range(len(edges)))


def frame(x: int, y: int) -> Rectangle:
    return Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="#D55E00", linewidth=2)


EXPERIMENT = Experiment(
    name="bun",
    title="The bottom-up network, off the game",
    about=(
        "Three tasks. `navigation` is navigation with known roles: each of 5 agents must go to its own of 5 landmarks, and sees itself "
        "and all landmarks (blind particles, one agent a colour). `cue` has planted dependencies: each of 6 agents must name, half of the "
        "time, the symbol that a certain other agent sees. `spread` is cooperative navigation with 5 agents, equal to "
        "`mpe2.simple_spread_v3`, where nobody has a landmark of its own. The team is one network with the observations as inputs, 64 "
        "hidden neurons and 32 outputs an agent, and heads of each agent's own; *dense* has all weights, *blocks* those within agents "
        "only, BUN begins with the blocks and adds 0.5 % or 6 % of the absent weights of the first layer until half of the training, where "
        "the gradient is largest; *random growth* adds as many anywhere. Observations of the trained policies are disturbed by Gaussian "
        f"noise (deviations {', '.join(map(str, NOISE))}), a bias (every number off by 0.1, 0.2 or 0.4, always the same way), missing "
        "numbers (0 with a chance of 0.1, 0.2 or 0.4) and an adversary (fast gradient sign, 0.05, 0.1 or 0.2); what is lost is the mean "
        "over the strengths."
    ),
    rows=rows(),
    measure=measure,
    claims=claims(),
    plots=plots,
    panels={task: tuple(f"{task}_{name}" for name in TEAMS) for task in TASKS},
)
