"""The bottom-up network (BUN, arXiv:2410.02516) against dense and unconnected teams: `reproduce bun`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from agent.backbones.bun import BUNBackbone
from arena.plots import COLORS
from reproduce.claims.experiment import FINAL_EPISODES, Claim, Experiment, Row, Rows, Verdict, clearly_more, final, keeps, mean, told
from reproduce.claims.plots import panels, plain_axes
from reproduce.tasks.cue import Cue
from reproduce.tasks.disturbed import Disturbance, adversary, bias, gaussian, missing
from reproduce.tasks.learn import LearnConfig, Learner

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
PLANTED = 6  # edges of the cue task: one a teacher


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


def flops_share(task: str, name: str) -> Callable[[Rows], Verdict]:
    def judge(rows: Rows) -> Verdict:
        share = mean(rows[f"{task}_{name}"], flops) / mean(rows[f"{task}_dense"], flops)
        return Verdict(f"{100 * share:.1f} % of the dense team's", share <= 0.25)

    return judge


def flops(run: dict) -> float:
    return run["stats"]["flops"]


def relative_loss(run: dict) -> list[float]:
    """Share of what learning gained that is lost at each noise."""
    start, noise = run["curve"]["return"][0], run["measures"]["noise"]
    return [(noise[0] - value) / (noise[0] - start) for value in noise]


def mean_loss(run: dict) -> float:
    """Relative loss, the mean over the noises that are not 0."""
    return float(np.mean(relative_loss(run)[1:]))


def less_loss(task: str) -> Callable[[Rows], Verdict]:
    def judge(rows: Rows) -> Verdict:
        ours, dense = rows[f"{task}_grown"], rows[f"{task}_dense"]
        said = f"loses {told(ours, mean_loss)} of its gain, dense {told(dense, mean_loss)}"
        return Verdict(said, clearly_more(dense, ours, mean_loss))

    return judge


def recall_precision(run: dict) -> tuple[float, float]:
    """Of the planted edges: share that was grown, and share of the grown weights that lie on them."""
    edges, planted = np.array(run["measures"]["edges"]), np.array(run["measures"]["planted"]) > 0
    return float((edges[planted] > 0).mean()), float(edges[planted].sum() / max(edges.sum(), 1))


def edges_found(rows: Rows) -> Verdict:
    runs = rows["cue_grown"]
    chance = PLANTED / (PLANTED * (PLANTED - 1))
    recall, precision = (mean(runs, lambda run, i=i: recall_precision(run)[i]) for i in (0, 1))
    return Verdict(f"recall {recall:.2f}, precision {precision:.2f} (by chance {chance:.2f})", recall == 1.0 and precision > 2 * chance)


def more_is_noise(rows: Rows) -> Verdict:
    small, large = (mean(rows[name], lambda run: recall_precision(run)[1]) for name in ("cue_grown", "cue_grown_6"))
    return Verdict(f"precision {large:.2f} at 6 %, {small:.2f} at 0.5 %", large < small)


def readable(rows: Rows) -> Verdict:
    runs = rows["cue_grown"]
    pairs = [np.array(run["measures"]["edges"]) > 0 for run in runs]
    count = float(np.mean([pair.sum() for pair in pairs]))
    everything = PLANTED * (PLANTED - 1)
    return Verdict(f"{count:.1f} of {everything} pairs connected, {mean(runs, edges_count):.0f} weights", count <= everything / 2)


def edges_count(run: dict) -> float:
    return float(np.sum(run["measures"]["edges"]))


def claims() -> list[Claim]:
    out = []
    for task in TASKS:
        needs = (f"{task}_grown", f"{task}_dense")
        out += [
            Claim(
                f"{task}: return comparable to the dense team's (at least 95 % of its gain)",
                "comparable",
                needs,
                keeps(*needs, share=0.95),
                RETURN[task],
            ),
            Claim(f"{task}: at most 25 % of the dense team's FLOPs", "25 %", needs, flops_share(task, "grown"), FLOPS, counted=True),
            Claim(
                f"{task}: smaller relative loss under observation noise than the dense team",
                "more robust",
                needs,
                less_loss(task),
                NOISY[task],
            ),
        ]
    return [
        *out,
        Claim("cue: the planted dependencies are found", "a small budget recovers the graph best", ("cue_grown",), edges_found, EDGES),
        Claim("cue: a large budget adds noise edges", "6 % adds noise edges", ("cue_grown", "cue_grown_6"), more_is_noise, EDGES),
        Claim("cue: the grown graph is sparse (at most half of the pairs)", "sparse, readable", ("cue_grown",), readable, EDGES),
    ]


RETURN = {
    "navigation": "",
    "cue": "growth ends at half of the training with some 10 to 60 of the 256 weights between a teacher's symbols and a learner's hidden "
    "neurons; the dense team has them all and goes on learning (see the curves).",
    "spread": "",
}
NOISY = {
    "navigation": "BUN has more to lose: its return is above the dense team's at every noise (at the largest by a hair). The team of "
    "blocks alone loses as large a share, so it is not what was grown: a policy that stops exactly at its landmark is thrown off by what "
    "does not disturb one that stops near it.",
    "cue": "BUN loses the smaller share, but by less than twice the standard error.",
    "spread": "BUN has more to lose: its return is above the dense team's at every noise. Both lose so little of a gain of 4 to 5 that the "
    "share is mostly chance.",
}
FLOPS = ""
EDGES = (
    "a pair counts from its first weight. Most of the weights lie on few pairs (see the graph), but the noise of the gradients puts "
    "single ones elsewhere."
)


def plots(rows: Rows) -> dict[str, tuple[str, Figure]]:
    """FLOPs against return, the noise sweep, and the grown graphs."""
    return {
        "flops": ("Return over FLOPs of a decision: a dot each seed.", flops_plot(rows)),
        "noise": ("Share of the gain that is lost under Gaussian observation noise: mean over seeds, lowest to highest.", noise_plot(rows)),
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
            losses = np.array([relative_loss(run) for run in rows.get(f"{task}_{name}", [])])
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
        "only, BUN begins with the blocks and adds 0.5 % or 6 % of the absent weights of the first layer until half of the training. "
        "Noise is Gaussian, added to the observations of the trained policies."
    ),
    rows=rows(),
    measure=measure,
    claims=claims(),
    plots=plots,
    panels={task: tuple(f"{task}_{name}" for name in TEAMS) for task in TASKS},
)
