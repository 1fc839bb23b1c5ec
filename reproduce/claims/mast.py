"""MAST (arXiv:2409.19391): sparse QMIX against dense ones, other sparse ones and itself without its parts: `reproduce mast`."""

from __future__ import annotations

import dataclasses

from matplotlib.figure import Figure

from reproduce.claims.experiment import Experiment, Row
from reproduce.claims.judges import EQUAL, Claim, Number, Rows, ahead, keeps, no_better, times_fewer
from reproduce.claims.plots import returns_by_sparsity
from reproduce.claims.sparsity import LEVELS, METHODS, NO_FASTER, not_faster, static_is_worst, times
from reproduce.tasks.q_learn import MAST, RIGL, QConfig, QLearner
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


def counted(what: str) -> Number:
    """A figure of a run's network."""
    return lambda run: run["stats"][what]


COUNTED = {
    "parameters": ("parameters", "5 to 20 times smaller"),
    "flops": ("FLOPs a decision", "up to 20 times fewer"),
    "update_flops": ("FLOPs of learning", "up to 20 times fewer"),
}


def claims() -> list[Claim]:
    out = []
    for percent in LEVELS:
        ours, small, rigl = f"mast_{percent}", f"small_{percent}", f"rigl_{percent}"
        text = f"MAST, {percent} % sparse, keeps at least 97 % of the gain of dense"
        out.append(Claim(text, "< 3 % loss", ("dense", ours), keeps(ours, "dense", 0.97)))
        text += " with the same targets and buffers"
        out.append(Claim(text, "not in the paper", ("dense_mast", ours), keeps(ours, "dense_mast", 0.97)))
        for what, (title, paper) in COUNTED.items():
            text = f"MAST, {percent} % sparse: {times(percent):.3g} times fewer {title}"
            out.append(Claim(text, paper, ("dense", ours), times_fewer(ours, "dense", counted(what), times(percent))))
        methods = (*METHODS, "mast")
        needs = tuple(f"{name}_{percent}" for name in methods)
        text = f"Static masks return less than every other sparse method, at {percent} %"
        out.append(Claim(text, "static worst", needs, static_is_worst(methods, percent)))
        for method, title in METHODS.items():
            needs = (small, f"{method}_{percent}")
            out.append(Claim(f"A small dense learner of equal size is ahead of {title}, at {percent} %", "yes", needs, ahead(*needs)))
        out.append(Claim(f"MAST is ahead of a small dense learner of equal size, at {percent} %", "yes", (ours, small), ahead(ours, small)))
        out.append(Claim(f"MAST is ahead of RigL, at {percent} %", "yes", (ours, rigl), ahead(ours, rigl)))
        for part, (title, _) in PARTS.items():
            needs = (ours, f"{ours}_no_{part}")
            out.append(Claim(f"MAST is ahead of itself without {title}, at {percent} %", "each part helps", needs, ahead(*needs)))
    needs = ("dense_dual", "dense")
    out.append(
        Claim(f"Dual buffers bring a dense learner at most {EQUAL:.0%} of its gain", "they do not help it", needs, no_better(*needs))
    )
    text = f"Unstructured sparsity makes training no faster (at least {NO_FASTER:.0%} of dense's CPU time)"
    return [*out, Claim(text, "FLOPs need not show in running time", ("dense", "rigl_90"), not_faster)]


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
