"""Sparse training of a policy (MAST, arXiv:2409.19391, its topology part) against dense ones: `reproduce sparse`."""

from __future__ import annotations

import dataclasses

from matplotlib.figure import Figure

from reproduce.claims.experiment import Claim, Experiment, Row, Rows, ahead, keeps
from reproduce.claims.plots import returns_by_sparsity
from reproduce.claims.sparsity import LEVELS, METHODS, least_saving, not_faster, saves, static_is_worst
from reproduce.tasks.learn import LearnConfig, Learner

DENSE = LearnConfig(task="spread", backbone="dense", method={"layers": 2}, width=128, env_steps=120_000, envs=32, rollout_steps=25)
AGENTS, FEATURES, ACTIONS = 3, 18, 5  # of spread


def parameters(width: int) -> int:
    """Weights and biases of the dense policy of this width."""
    return (FEATURES + 1) * width + 2 * (width + 1) * width + (ACTIONS + 1) * (width + 1)


def small_width(percent: int) -> int:
    """Width of the dense policy that has about as many parameters as the large one with so many of its weights absent."""
    width = DENSE.width
    weights = FEATURES * width + 2 * width * width  # what sparse training may take from: input layer and backbone
    kept = parameters(width) - percent / 100 * weights
    return min(range(4, width), key=lambda narrow: abs(parameters(narrow) - kept))


def rows() -> dict[str, Row]:
    out = {"dense": Row(f"dense, width {DENSE.width}", DENSE)}
    for percent in LEVELS:
        for method, title in METHODS.items():
            config = dataclasses.replace(DENSE, sparsity=percent / 100, sparse={"method": method})
            out[f"{method}_{percent}"] = Row(f"{title}, {percent} % sparse", config)
        regrow = dataclasses.replace(DENSE, sparsity=percent / 100, sparse={"method": "rigl", "regrow": True})
        out[f"regrow_{percent}"] = Row(f"RigL with regrowth, {percent} % sparse", regrow)
        narrow = small_width(percent)
        out[f"small_{percent}"] = Row(
            f"small dense, width {narrow}, as large as {percent} % sparse", dataclasses.replace(DENSE, width=narrow)
        )
    return out


def measure(learner: Learner) -> dict:
    """Weights that are present in the layers that sparse training masks."""
    parts = [part for part in (learner.policy.enter, learner.policy.backbone) if part is not None]
    weights = [p for part in parts for name, p in part.named_parameters() if name.endswith("weight")]
    return {"present": int(sum(int((w != 0).sum()) for w in weights)), "places": int(sum(w.numel() for w in weights))}


def flops(run: dict) -> float:
    return run["stats"]["flops"]


def claims() -> list[Claim]:
    out = []
    for percent in LEVELS:
        text = f"RigL, {percent} % sparse, loses less than 3 % of dense"
        out.append(
            Claim(text, "5 to 20 times smaller, < 3 % loss", ("dense", f"rigl_{percent}"), keeps(f"rigl_{percent}", "dense", 0.97), LOSS)
        )
    for percent in LEVELS:
        text = f"RigL, {percent} % sparse, needs at least {least_saving(percent):.3g} times fewer FLOPs a decision"
        out.append(Claim(text, "up to 20 times fewer", ("dense", f"rigl_{percent}"), saves(flops, "rigl", percent), HEADS, counted=True))
    for percent in LEVELS:
        needs = tuple(f"{name}_{percent}" for name in METHODS)
        out.append(
            Claim(
                f"Of the sparse methods static masks are worst, at {percent} %",
                "static worst",
                needs,
                static_is_worst(METHODS, percent),
                STATIC,
            )
        )
    for percent in LEVELS:
        needs = (f"small_{percent}", f"rigl_{percent}")
        text = f"A small dense policy of equal size beats RigL, at {percent} %"
        out.append(Claim(text, "it beats every sparse method but MAST", needs, ahead(*needs), SMALL))
    text = "Unstructured sparsity does not make training faster"
    return [*out, Claim(text, "FLOPs need not show in running time", ("dense", "rigl_90"), not_faster, "")]


LOSS = (
    "runs are short for sparse networks. The dense network is nearly level from half of the run on, the sparse ones come from behind and "
    "are still rising at its end (see the curves); a small dense network of equal size comes no nearer."
)
HEADS = "The heads stay dense, and weigh more the sparser the rest is."
STATIC = (
    "a run has 2,400 gradient steps, so connections change seven times, and on a task this small a random mask is nearly as good; the "
    "methods differ by less than their seeds."
)
SMALL = "the means differ by less than twice the standard error, or the other way."


def plots(rows: Rows) -> dict[str, tuple[str, Figure]]:
    """Return over the share of absent weights."""
    lines = {**METHODS, "small": "small dense of equal size"}
    figure = returns_by_sparsity(rows, lines, LEVELS, "Spread, 3 agents")
    return {"levels": ("Return by sparsity: means, and a dot each seed.", figure)}


EXPERIMENT = Experiment(
    name="sparse",
    title="Dynamic sparse training, off the game",
    about=(
        f"Task: cooperative navigation (`spread`, {AGENTS} agents, equal to `mpe2.simple_spread_v3`). One shared policy, an input "
        f"layer and two layers of width {DENSE.width}; input layer and backbone are sparse, heads dense, by Erdos-Renyi densities, "
        "connections changed every 250 gradient steps until 75 % of training. MAST's Soft Mellowmax, hybrid targets and dual "
        "buffers belong to its value-based learner and are not here: PPO has no maximum, and its data is on-policy already."
    ),
    rows=rows(),
    measure=measure,
    claims=claims(),
    plots=plots,
    panels={f"{percent} % sparse": ("dense", *(f"{name}_{percent}" for name in (*METHODS, "small"))) for percent in LEVELS},
)
