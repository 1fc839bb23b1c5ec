"""MAST (arXiv:2409.19391): sparse QMIX against dense ones, other sparse ones and itself without its parts: `reproduce mast`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from matplotlib.figure import Figure

from reproduce.claims.experiment import Claim, Experiment, Row, Rows, Verdict, ahead, clearly_more, final, mean, told
from reproduce.claims.plots import returns_by_sparsity
from reproduce.claims.sparsity import LEVELS, METHODS, least_saving, not_faster, saves, static_is_worst
from reproduce.tasks.q_learn import MAST, RIGL, QConfig, QLearner
from training.run.runs import Run
from training.value_based.nets import NetConfig

PARTS = {  # what MAST is without each of its parts
    "mellow": ("Soft Mellowmax", {"mellow": False}),
    "lambda": ("TD(lambda)", {"lam": 0.0}),
    "dual": ("dual buffers", {"recent": 0, "recent_batch": 0}),
}
AGENTS, FEATURES, ACTIONS, STATES = 3, 18, 5, 18  # of spread
# Runs are short, 1,440 gradient steps, so that targets and connections change more often than every 200 steps as published.
DENSE = QConfig(
    task="spread",
    algo="qmix",
    env_steps=36_000,
    epsilon_steps=12_000,
    reward_scale=0.2,
    net=NetConfig(hidden=64),
    target_interval=40,
)
TOPOLOGY = {**RIGL, "interval": 100}


def parameters(hidden: int, embed: int, hypernet: int) -> tuple[int, int]:
    """Weights and biases of the dense learner, agents and mixer."""
    agent = [(FEATURES + ACTIONS + AGENTS, hidden), (hidden, 3 * hidden), (hidden, 3 * hidden), (hidden, ACTIONS)]
    mixer = [(STATES, hypernet), (hypernet, AGENTS * embed), (STATES, hypernet), (hypernet, embed), (STATES, embed), (STATES, embed)]
    layers = [*agent, *mixer, (embed, 1)]
    return sum(inputs * outputs for inputs, outputs in layers), sum(outputs for _, outputs in layers)


def small(percent: int) -> QConfig:
    """The dense learner, narrower everywhere, that has as many parameters as the large one with so many weights absent."""
    weights, biases = parameters(DENSE.net.hidden, DENSE.embed, DENSE.hypernet)
    kept = (1 - percent / 100) * weights + biases

    def narrowed(hidden: int) -> tuple[int, int, int]:
        share = hidden / DENSE.net.hidden
        return hidden, max(1, round(share * DENSE.embed)), max(1, round(share * DENSE.hypernet))

    best = min(range(2, DENSE.net.hidden), key=lambda hidden: abs(sum(parameters(*narrowed(hidden))) - kept))
    hidden, embed, hypernet = narrowed(best)
    return dataclasses.replace(DENSE, net=NetConfig(hidden=hidden), embed=embed, hypernet=hypernet)


def rows() -> dict[str, Row]:
    dual = {"recent": MAST["recent"], "recent_batch": MAST["recent_batch"]}
    out = {
        "dense": Row(f"dense, width {DENSE.net.hidden}", DENSE),
        "dense_dual": Row("dense with dual buffers", dataclasses.replace(DENSE, **dual)),
        "dense_mast": Row("dense with all that MAST adds", dataclasses.replace(DENSE, **MAST)),
    }
    for percent in LEVELS:
        narrow = small(percent)
        out[f"small_{percent}"] = Row(f"small dense, width {narrow.net.hidden}, as large as {percent} % sparse", narrow)
        sparse = dataclasses.replace(DENSE, sparsity=percent / 100, sparse=TOPOLOGY)
        for method, title in METHODS.items():
            out[f"{method}_{percent}"] = Row(
                f"{title}, {percent} % sparse", dataclasses.replace(sparse, sparse={**TOPOLOGY, "method": method})
            )
        out[f"mast_{percent}"] = Row(f"MAST, {percent} % sparse", dataclasses.replace(sparse, **MAST))
        for part, (title, off) in PARTS.items():
            out[f"mast_{percent}_no_{part}"] = Row(f"MAST without {title}, {percent} %", dataclasses.replace(sparse, **{**MAST, **off}))
    return out


def measure(learner: QLearner) -> dict:
    """Gradient steps made, and bytes that the replay holds when full."""
    return {"updates": learner.updates, "replay_bytes": learner.replay.nbytes}


def over_random(run: Run) -> float:
    """What is gained over random play. (Greedy play of an untrained network differs with the network.)"""
    return final(run) - run["measures"]["random"]


def loses_little(percent: int, reference: str = "dense") -> Callable[[Rows], Verdict]:
    """MAST has at least 97 % of what the reference gains over random play, in the mean."""

    def judge(rows: Rows) -> Verdict:
        sparse, dense = rows[f"mast_{percent}"], rows[reference]
        gained = mean(dense, over_random)
        if gained <= 0:
            return Verdict(f"the dense learner is not ahead of random play ({told(dense)})", False)
        share = mean(sparse, over_random) / gained
        return Verdict(f"{100 * share:.1f} % of its gain over random play ({told(sparse)} against {told(dense)})", share >= 0.97)

    return judge


def counted(what: str) -> Callable[[Run], float]:
    """A figure of a run's network."""
    return lambda run: run["stats"][what]


def no_help(rows: Rows) -> Verdict:
    """Not clearly more."""
    more = clearly_more(rows["dense_dual"], rows["dense"])
    return Verdict(f"{told(rows['dense_dual'])} against {told(rows['dense'])}", None if more is None else not more)


COUNTED = {
    "parameters": ("parameters", "5 to 20 times smaller"),
    "flops": ("FLOPs a decision", "up to 20 times fewer"),
    "update_flops": ("FLOPs of learning", "up to 20 times fewer"),
}


def claims() -> list[Claim]:
    out = []
    for percent in LEVELS:
        text = f"MAST, {percent} % sparse, loses less than 3 % of dense"
        out.append(Claim(text, "< 3 % loss", ("dense", f"mast_{percent}"), loses_little(percent), SHORT))
    for percent in LEVELS:
        needs = ("dense_mast", f"mast_{percent}")
        text = f"MAST, {percent} % sparse, loses less than 3 % of the dense learner with the same targets and buffers"
        out.append(Claim(text, "not in the paper", needs, loses_little(percent, "dense_mast"), SHORT))
    for what, (title, paper) in COUNTED.items():
        for percent in LEVELS:
            text = f"MAST, {percent} % sparse, has at least {least_saving(percent):.3g} times fewer {title}"
            out.append(Claim(text, paper, ("dense", f"mast_{percent}"), saves(counted(what), "mast", percent), BIASES, counted=True))
    for percent in LEVELS:
        needs = tuple(f"{name}_{percent}" for name in (*METHODS, "mast"))
        text = f"Of the sparse methods static masks are worst, at {percent} %"
        out.append(Claim(text, "static worst", needs, static_is_worst({**METHODS, "mast": "MAST"}, percent), SMALL_TASK))
    for percent in LEVELS:
        for method, title in METHODS.items():
            needs = (f"small_{percent}", f"{method}_{percent}")
            out.append(
                Claim(f"A small dense learner of equal size is ahead of {title}, at {percent} %", "yes", needs, ahead(*needs), NARROW)
            )
        needs = (f"mast_{percent}", f"small_{percent}")
        out.append(Claim(f"MAST is ahead of a small dense learner of equal size, at {percent} %", "yes", needs, ahead(*needs), SHORT))
        needs = (f"mast_{percent}", f"rigl_{percent}")
        out.append(Claim(f"MAST is ahead of RigL, at {percent} %", "yes", needs, ahead(*needs), SHORT))
        for part, (title, _) in PARTS.items():
            needs = (f"mast_{percent}", f"mast_{percent}_no_{part}")
            out.append(
                Claim(f"MAST is ahead of itself without {title}, at {percent} %", "each part helps", needs, ahead(*needs), PARTS_WHY)
            )
    out.append(Claim("Dual buffers do not help a dense learner", "they do not", ("dense", "dense_dual"), no_help))
    text = "Unstructured sparsity does not make training faster"
    return [*out, Claim(text, "FLOPs need not show in running time", ("dense", "rigl_90"), not_faster)]


SHORT = (
    "on this task there is little to repair: the dense learner gains nothing from the same targets and buffers, and the sparse rows "
    "differ from it and from each other by about a deviation over seeds. Runs are short for sparse networks, too: 1,440 gradient "
    "steps, in which connections change fourteen times."
)
NARROW = (
    "the other way, or by less than twice the standard error. Recurrent networks of 13 to 27 neurons learn no better here than wide "
    "ones with as few weights."
)
BIASES = "biases and the products with the mixer's made weights stay, and weigh more the sparser the rest is."
SMALL_TASK = (
    "on a task this small the rows differ by less than their seeds; at 95 % sparsity, where capacity is short, static masks are last,"
    " as in the paper."
)
PARTS_WHY = (
    "as for the dense learner, which gains nothing from the parts together. Soft Mellowmax seems to cost something at 95 %: it lowers"
    " targets towards the mean over actions, which most likely hides small differences from a network that tells actions apart badly."
)


def plots(rows: Rows) -> dict[str, tuple[str, Figure]]:
    """Return over the share of absent weights."""
    lines = {"small": "small dense of equal size", **METHODS, "mast": "MAST"}
    figure = returns_by_sparsity(rows, lines, LEVELS, "QMIX on spread, 3 agents")
    return {"levels": ("Return by sparsity: means, and a dot each seed.", figure)}


EXPERIMENT = Experiment(
    name="mast",
    title="MAST: dynamic sparse training of QMIX, off the game",
    about=(
        f"Task: cooperative navigation (`spread`, {AGENTS} agents, equal to `mpe2.simple_spread_v3`); the paper's StarCraft maps need a "
        f"game that cannot be installed. QMIX with shared recurrent agents of width {DENSE.net.hidden}; agents, mixer and hypernetworks "
        f"are one sparse network by Erdos-Renyi densities, connections changed every {TOPOLOGY['interval']} gradient steps, a share "
        "annealed from 0.5. MAST adds Soft Mellowmax (alpha 1, omega 10), TD(lambda) with lambda 0.6 from 3/8 of the run on, and dual "
        "buffers (5,000 and 100 episodes, batches of 24 + 8). One gradient step an episode, RMSprop 5e-4, target copy every "
        f"{DENSE.target_interval} steps; the paper has 200 for both intervals, in runs many times as long. The dense learner with all that "
        "MAST adds is not in the paper: it tells what sparsity costs apart from what the targets and buffers bring."
    ),
    rows=rows(),
    measure=measure,
    claims=claims(),
    plots=plots,
    panels={
        "Dense": ("dense", "dense_dual", "dense_mast"),
        **{f"{percent} % sparse": ("dense", *(f"{name}_{percent}" for name in ("small", *METHODS, "mast"))) for percent in LEVELS},
        **{f"MAST's parts, {percent} %": (f"mast_{percent}", *(f"mast_{percent}_no_{part}" for part in PARTS)) for percent in LEVELS},
    },
    learner=QLearner,
    plays="actions greedy",
)
