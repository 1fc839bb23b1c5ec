"""Sparse training of a policy (MAST, arXiv:2409.19391, its topology part) against dense ones: `reproduce sparse`."""

from __future__ import annotations

import dataclasses

from matplotlib.figure import Figure

from reproduce.claims.experiment import Experiment, Row
from reproduce.claims.judges import Claim, Rows, ahead, keeps, times_fewer
from reproduce.claims.plots import returns_by_sparsity
from reproduce.claims.sparsity import LEVELS, METHODS, NO_FASTER, not_faster, static_is_worst, times
from reproduce.tasks.learn import LearnConfig, Learner
from training.run.runs import Run

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


def flops(run: Run) -> float:
    return run["stats"]["flops"]


def size(run: Run) -> float:
    return run["stats"]["parameters"]


def claims() -> list[Claim]:
    out = []
    for percent in LEVELS:
        dense, rigl, small, regrow = "dense", f"rigl_{percent}", f"small_{percent}", f"regrow_{percent}"
        fewer = f"{times(percent):.3g} times fewer"
        out += [
            Claim(f"RigL, {percent} % sparse, keeps at least 97 % of dense's gain", "< 3 % loss", (dense, rigl), keeps(rigl, dense, 0.97)),
            Claim(
                f"RigL, {percent} % sparse: {fewer} parameters",
                "5 to 20 times smaller",
                (dense, rigl),
                times_fewer(rigl, dense, size, times(percent)),
            ),
            Claim(
                f"RigL, {percent} % sparse: {fewer} FLOPs a decision",
                "up to 20 times fewer",
                (dense, rigl),
                times_fewer(rigl, dense, flops, times(percent)),
            ),
            Claim(
                f"Static masks return less than SET and than RigL, at {percent} %",
                "static worst",
                tuple(f"{name}_{percent}" for name in METHODS),
                static_is_worst(tuple(METHODS), percent),
            ),
            Claim(
                f"A small dense policy of equal size is ahead of RigL, at {percent} %",
                "ahead of every sparse method but MAST",
                (small, rigl),
                ahead(small, rigl),
            ),
            Claim(
                f"RigL whose dropped weights may regrow, as published, is ahead of RigL, at {percent} %",
                "not in the paper",
                (regrow, rigl),
                ahead(regrow, rigl),
            ),
        ]
    text = f"Unstructured sparsity makes training no faster (at least {NO_FASTER:.0%} of dense's CPU time)"
    return [*out, Claim(text, "FLOPs need not show in running time", ("dense", "rigl_90"), not_faster)]


def plots(rows: Rows) -> dict[str, tuple[str, Figure]]:
    """Return over the share of absent weights."""
    lines = {**METHODS, "regrow": "RigL with regrowth", "small": "small dense of equal size"}
    figure = returns_by_sparsity(rows, lines, LEVELS, "Spread, 3 agents")
    return {"levels": ("Return by sparsity: means, and a dot each seed.", figure)}


EXPERIMENT = Experiment(
    name="sparse",
    title="Dynamic sparse training, off the game",
    about=(
        f"Task: cooperative navigation (`spread`, {AGENTS} agents, equal to `mpe2.simple_spread_v3`). One shared policy, an input "
        f"layer and two layers of width {DENSE.width}; input layer and backbone are sparse, heads dense, by Erdos-Renyi densities, "
        "connections changed every 250 gradient steps until 75 % of training. Heads, which stay dense, and biases are counted, too. "
        "MAST's Soft Mellowmax, hybrid targets and dual "
        "buffers belong to its value-based learner and are not here: PPO has no maximum, and its data is on-policy already."
    ),
    rows=rows(),
    measure=measure,
    claims=claims(),
    plots=plots,
    panels={f"{percent} % sparse": ("dense", *(f"{name}_{percent}" for name in (*METHODS, "regrow", "small"))) for percent in LEVELS},
)
