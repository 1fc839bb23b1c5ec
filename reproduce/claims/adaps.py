"""Adaptive parameter sharing (AdaPS, arXiv:2312.09009) against its baselines on blind particles: `reproduce adaps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from agent.backbones.adaps import AdapsBackbone
from arena.plots import COLORS
from reproduce.claims.experiment import Experiment, Row
from reproduce.claims.judges import Claim, Rows, ahead, at_most, falls_short, keeps, mostly
from reproduce.claims.plots import panels, plain_axes
from reproduce.tasks.blind_particles import BlindParticles
from reproduce.tasks.learn import LearnConfig, Learner
from training.run.runs import Run

GROUPS = {"10x3": (10, 3), "6x5": (6, 5)}  # agents of a colour, colours; as published
SHARING = {
    "adaps": "AdaPS",
    "full": "full sharing",
    "full_id": "full sharing + id",
    "selective": "selective sharing",
    "none": "no sharing",
}
AGAINST = {
    "full": "full sharing",
    "full_id": "full sharing + id",
    "none": "no sharing",
    "snp": "a random mask for every agent (SNP-PS)",
}
THRESHOLDS, STARVES = (0.3, 0.7, 0.9), 0.9
PURE = 0.95
AGENTS = 30
MARKERS = "osD^vP*X"


def config(groups: str, sharing: str, **method: Any) -> LearnConfig:
    size, colours = GROUPS[groups]
    return LearnConfig(
        task="blind_particles",
        options={"group_size": size, "colours": colours},
        backbone="adaps",
        method={
            "sharing": sharing,
            "key": "slot",
            "slots": AGENTS,
            "layers": 2,
            "samples": 60_000,
            "warmup": 0.1,
            "learning_rate": 1e-3,
            **method,
        },
        input_layer=False,
        separate=sharing == "none",
        width=64,
        env_steps=30_000,
        envs=8,
        rollout_steps=25,
        epochs=2,
        learning_rate=2e-3,
        evaluations=8,
        eval_episodes=32,
    )


def controls(groups: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """AdaPS with another way to come by its masks: what is different, and how it is set."""
    colours = GROUPS[groups][1]
    return {
        "given": ("AdaPS, told the number of colours", {"clusters": colours}),
        "no_vae": ("AdaPS without the autoencoder: random identities", {"clusters": colours, "identities": "random"}),
        "snp": ("a random mask for every agent (SNP-PS)", {"clusters": AGENTS, "max_clusters": AGENTS, "identities": "random"}),
    }


def rows() -> dict[str, Row]:
    out = {f"{name}_{groups}": Row(f"{title}, [{groups}]", config(groups, name)) for groups in GROUPS for name, title in SHARING.items()}
    for groups in GROUPS:
        for name, (title, method) in controls(groups).items():
            out[f"{name}_{groups}"] = Row(f"{title}, [{groups}]", config(groups, "adaps", **method))
    for threshold in THRESHOLDS:
        row = Row(f"AdaPS, threshold {threshold}, [10x3]", config("10x3", "adaps", threshold=threshold))
        out[f"threshold_{threshold}"] = row
    return out


def measure(learner: Learner) -> dict:
    """Clusters found and how pure they are, with the identity vectors to look at."""
    backbone, task = learner.policy.backbone, learner.task
    assert isinstance(backbone, AdapsBackbone) and isinstance(task, BlindParticles)
    if backbone.config.sharing not in ("adaps", "selective"):
        return {}
    cluster = backbone.cluster[: task.agents].numpy()
    return {
        "cluster": cluster.tolist(),
        "colour": task.colour.tolist(),
        "purity": purity(cluster, task.colour),
        "identity": backbone.identity[: task.agents].numpy().round(4).tolist(),
    }


def size(run: Run) -> float:
    return run["stats"]["parameters"]


def purity(cluster: np.ndarray, colour: np.ndarray) -> float:
    """Share of agents whose colour is the commonest of their cluster."""
    return float(sum(np.bincount(colour[cluster == label]).max() for label in np.unique(cluster)) / len(cluster))


def pure(run: Run) -> bool:
    return run["measures"]["purity"] >= PURE


def clusters(colours: int) -> Callable[[Sequence[Run]], str]:
    """How many clusters were found in each seed, and how pure."""

    def said(runs: Sequence[Run]) -> str:
        each = ", ".join(f"{len(set(run['measures']['cluster']))} ({run['measures']['purity']:.2f})" for run in runs)
        return f"clusters (purity) {each}; {colours} colours"

    return said


def claims() -> list[Claim]:
    out = []
    for groups, (_, colours) in GROUPS.items():
        ours, given = f"adaps_{groups}", f"given_{groups}"
        text = f"[{groups}]: the colours are recovered as clusters (purity at least {PURE}), in most seeds"
        out.append(Claim(text, "yes", (ours,), mostly(ours, pure, clusters(colours))))
        text = f"[{groups}]: told their number, the colours are recovered, in most seeds"
        out.append(Claim(text, "K is given", (given,), mostly(given, pure, clusters(colours))))
        for name, title in (*AGAINST.items(), ("no_vae", "itself with random identities")):
            other = f"{name}_{groups}"
            out.append(Claim(f"[{groups}]: AdaPS ahead of {title}", "AdaPS higher", (ours, other), ahead(ours, other)))
        other = f"selective_{groups}"
        out.append(Claim(f"[{groups}]: AdaPS ahead of {SHARING['selective']}", "AdaPS higher", (ours, other), ahead(ours, other)))
        text = f"[{groups}]: AdaPS keeps at least 95 % of the gain of selective sharing"
        out.append(Claim(text, "not in the paper", (ours, other), keeps(ours, other, 0.95)))
        text = f"[{groups}]: told the number of colours, AdaPS ahead of no sharing"
        out.append(Claim(text, "AdaPS higher", (given, f"none_{groups}"), ahead(given, f"none_{groups}")))
    needs = ("adaps_10x3", "full_10x3")
    out.append(Claim("AdaPS has no more parameters than full sharing", "the same", needs, at_most(*needs, size, 1.0)))
    for threshold in THRESHOLDS:
        needs = (f"threshold_{threshold}", "adaps_10x3")
        if threshold < STARVES:
            text = f"A threshold of {threshold} learns: at least 90 % of the gain at 0.4"
            out.append(Claim(text, "0.3 to 0.7 learn", needs, keeps(*needs, share=0.9)))
        else:
            text = f"A threshold of {threshold} starves the network: less than 90 % of the gain at 0.4"
            out.append(Claim(text, "0.9 does not", needs, falls_short(*needs, share=0.9)))
    return out


def plots(rows: Rows) -> dict[str, tuple[str, Figure]]:
    """Identity vectors in their first two principal directions: colour is the true colour, the marker the cluster found."""
    shown = [(groups, run) for groups in GROUPS for run in rows.get(f"adaps_{groups}", [])]
    if not shown:
        return {}
    figure, every = panels(len(shown))
    for axes, (groups, run) in zip(every, shown):
        points = principal(np.array(run["measures"]["identity"]))
        for x, y, colour, cluster in zip(*points.T, run["measures"]["colour"], run["measures"]["cluster"]):
            axes.scatter(x, y, color=COLORS[colour], marker=MARKERS[cluster % len(MARKERS)], s=36, edgecolors="white", linewidths=0.5)
        title = f"[{groups}], seed {run['seed']}: purity {run['measures']['purity']:.2f}"
        plain_axes(axes, title=title, xlabel="first direction", ylabel="second direction")
    caption = "Identity vectors of the 30 agents: the colour is the hidden one, the marker the cluster that was found."
    return {"clusters": (caption, figure)}


def principal(points: np.ndarray) -> np.ndarray:
    """`[n, z]` -> `[n, 2]`, along the directions in which points vary most."""
    centred = points - points.mean(0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T


EXPERIMENT = Experiment(
    name="adaps",
    title="Adaptive parameter sharing, off the game",
    about=(
        "Task: blind-particle spread, 30 agents in groups as published, `[10x3]` and `[6x5]` (agents of a colour x colours), 50 "
        "steps, reward minus the distance to the own colour's landmark, the colour hidden. The backbone gets the observation "
        "itself and has two layers of width 64; heads are shared, but for *no sharing*, where every agent has its own. The paper "
        "learns with A2C, here it is PPO; clusters are found after 10 % of the training, their number by the Davies-Bouldin "
        "score unless it is told. *Random identities* are drawn in place of the autoencoder's, with as many clusters as colours; with as "
        "many as agents every agent has a random mask of its own, which is structured pruning (SNP-PS)."
    ),
    rows=rows(),
    measure=measure,
    claims=claims(),
    plots=plots,
    panels={
        **{f"[{groups}]": tuple(f"{name}_{groups}" for name in SHARING) for groups in GROUPS},
        **{f"[{groups}], controls": tuple(f"{name}_{groups}" for name in ("adaps", *controls(groups))) for groups in GROUPS},
        "Threshold, [10x3]": ("adaps_10x3", *(f"threshold_{threshold}" for threshold in THRESHOLDS)),
    },
)
