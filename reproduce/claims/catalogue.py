"""What the five source documents claim, and what here tests it: the list behind docs/results/claims.md.

A claim names its tests by experiment and by what their text on its page begins with. What cannot be tested says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Entry(NamedTuple):
    """A claim of a document."""

    claim: str
    where: str  # in the document
    tests: tuple[tuple[str, str], ...] = ()  # experiment, how the text of its claims begins (all that do)
    note: str = ""  # what is to be said besides, or why nothing is tested
    instead: str = ""  # the verdict in place of one by runs, see below


EXACT = "exact tests"  # no matter of statistics: laws that tests of the repository check
OPEN = "not tested"
CANNOT = "cannot be tested here"
SMAC = "StarCraft II cannot be installed."

MAGMA = (
    Entry("Trajectory separation makes training converge 3 times as fast", "abstract", (("magma", "3 times as fast"),)),
    Entry(
        "Separate trajectories perform better than one global trajectory", "results, figure 7 and 8", (("magma", "separate trajectories"),)
    ),
    Entry("More weight on an entity's own reward performs better", "results, figure 7", (("magma", "own reward alone"),)),
    Entry(
        "Without separate rewards, or without separate values, performance falls much",
        "figure 8",
        (("magma", "separate values"),),
        "The row of global rewards (0:100) was not run.",
    ),
    Entry("Reward is the most important of the separated components", "figure 8", note="Its row was not run.", instead=OPEN),
    Entry("The hybrid model is 30 times smaller than related work's", "abstract", (("magma", "30 times smaller"),)),
    Entry("Basic skills are learned with 600 times fewer examples than in related work", "abstract", (("magma", "600 times fewer"),)),
    Entry("Basic skills are learned 24 times faster than in related work", "abstract", note="Wall time on other machines.", instead=CANNOT),
    Entry(
        "Entities' trajectories of different length are handled, with births and deaths",
        "introduction",
        instead=EXACT,
        note="tests/training/test_advantages.py and test_grouping.py.",
    ),
)
BUN = (
    Entry(
        "Performance is comparable to that of dense, fully connected teams",
        "key results",
        tuple(("bun", f"{task}: at least 95 %") for task in ("navigation", "cue", "spread")),
    ),
    Entry(
        "It needs only 25 % of the FLOPs",
        "key results (grids of traffic signals)",
        tuple(("bun", f"{task}: at most 25 %") for task in ("navigation", "cue", "spread")),
        "Tested on navigation and cue; there is no task of traffic signals here.",
    ),
    Entry(
        "It is more robust to Gaussian noise in observations than dense teams",
        "key results",
        tuple(("bun", f"{task}: Gaussian noise") for task in ("navigation", "cue", "spread")),
    ),
    Entry(
        "Robustness to systematic bias, missing observations and adversaries is open",
        "next checks",
        tuple(
            ("bun", f"{task}: {kind} takes")
            for task in ("navigation", "cue", "spread")
            for kind in ("a bias", "missing numbers", "an adversary")
        ),
    ),
    Entry(
        "Connections grow only where coordination needs them; the topology is sparse",
        "key results",
        (("bun", "cue: every planted"), ("bun", "cue: more than twice"), ("bun", "cue: at most half"), ("bun", "cue: a large budget")),
    ),
    Entry(
        "Growing by the gradient's magnitude lets agents coordinate when it is needed",
        "why this works",
        tuple(
            ("bun", f"{task}: {text}") for task in ("navigation", "cue", "spread") for text in ("growing brings", "the gradient chooses")
        ),
    ),
    Entry(
        "Before growth agents are independent; growing changes no output at that step",
        "method",
        instead=EXACT,
        note="tests/agent/test_bun.py.",
    ),
    Entry("Growth may be sensitive to the learning rate", "limitations", instead=OPEN),
    Entry("It scales to heterogeneous benchmarks such as SMAC", "next checks", note=SMAC, instead=CANNOT),
)
TOLD = {  # tasks by experiment
    "communication": ("cue", "predator-prey, lone attempt -0.25", "predator-prey as published"),
    "communication_iql": ("cue", "predator-prey, lone attempt -0.25, 50 steps"),
}


def of_every_task(rest: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, task + rest) for name, tasks in TOLD.items() for task in tasks)


def of_sizes(sharing: str) -> tuple[tuple[str, str], ...]:
    """Tasks that were learned by networks of several sizes."""
    return tuple((name, task + sharing) for name, task in of_every_task("") if task != "predator-prey as published")


COMMUNICATION = (
    Entry(
        "Agents that share no parameters learn to communicate with their own message as input and others' detached",
        "mechanism 1",
        of_every_task(", independent, h"),
    ),
    Entry(
        "Without the own message nothing teaches the message net; with it every parameter is updated once",
        "mechanism 1",
        instead=EXACT,
        note="tests/agent/test_communication.py and tests/reproduce/test_value_based.py.",
    ),
    Entry("Independent learners lag behind shared parameters", "key results", of_every_task(", h")),
    Entry("Communication helps more evidently with shared parameters", "mechanism 2", of_every_task(", shared, h")),
    Entry(
        "A larger network can replace communication",
        "mechanism 3",
        of_sizes(", independent: messages add less") + of_sizes(", shared: messages add less"),
    ),
    Entry("In 3s_vs_5z communication plays no important role", "mechanism 3", note=SMAC, instead=CANNOT),
    Entry("It holds with ten agents and more", "open question 1", note="Tasks have four agents.", instead=OPEN),
    Entry("Attention or graph networks as message nets", "open question 3", instead=OPEN),
)
SHARED = ("no sharing", "full sharing", "full sharing + id", "selective sharing", "a random mask for every agent")
ADAPS = (
    Entry(
        "It performs better than NoPS, FuPS, FuPS+id, SePS and SNP-PS (blind-particle spread)",
        "key results",
        tuple(("adaps", f"[{groups}]: AdaPS ahead of {other}") for groups in ("10x3", "6x5") for other in SHARED)
        + tuple(("adaps", f"[{groups}]: told the number of colours, AdaPS ahead") for groups in ("10x3", "6x5")),
    ),
    Entry("It has the parameters of full sharing", "key results", (("adaps", "AdaPS has no more parameters"),)),
    Entry(
        "Identities that the autoencoder learns show which agents are alike",
        "mechanism 3",
        tuple(
            ("adaps", f"[{groups}]: {text}") for groups in ("10x3", "6x5") for text in ("the colours are recovered", "told their number")
        ),
    ),
    Entry(
        "Learned identities are worth it (ablation of the autoencoder)",
        "next checks",
        tuple(("adaps", f"[{groups}]: AdaPS ahead of itself with random identities") for groups in ("10x3", "6x5")),
    ),
    Entry(
        "A fixed random mapping makes useful masks; the threshold must be chosen",
        "mechanism 2, limitations",
        (("adaps", "A threshold of"),),
    ),
    Entry(
        "Agents of one cluster share a function, those of others have another mask; the mapping net never learns",
        "mechanism 1 and 2",
        instead=EXACT,
        note="tests/agent/test_adaps.py.",
    ),
    Entry("The same in the coloured multi-robot warehouse and in level-based foraging", "key results", instead=OPEN),
    Entry("It scales to many types of agents", "limitations", note="There are up to five.", instead=OPEN),
)


def at_levels(text: Callable[[str, int], str]) -> tuple[tuple[str, str], ...]:
    """The tests of a claim about both sparse methods, in percent of sparsity."""
    return tuple((page, text(name, level)) for page, name in (("sparse", "RigL"), ("mast", "MAST")) for level in (80, 90, 95))


MAST = (
    Entry(
        "5 to 20 times smaller",
        "key results",
        at_levels(lambda name, level: f"{name}, {level} % sparse: {100 // (100 - level)} times fewer parameters"),
    ),
    Entry(
        "Less than 3 % loss",
        "key results",
        at_levels(lambda name, level: f"{name}, {level} % sparse, keeps at least 97 %"),
    ),
    Entry(
        "Up to 20 times fewer FLOPs, learning and acting",
        "key results",
        at_levels(lambda name, level: f"{name}, {level} % sparse: {100 // (100 - level)} times fewer FLOPs"),
    ),
    Entry(
        "TD(lambda), Soft Mellowmax and dual buffers each help a sparse learner",
        "mechanism 1 and 2",
        tuple(("mast", f"MAST is ahead of itself without {part}") for part in ("Soft Mellowmax", "TD(lambda)", "dual buffers")),
    ),
    Entry("Dual buffers do not help a dense learner", "paper", (("mast", "Dual buffers bring"),)),
    Entry(
        "Topology by gradients finds good sparse networks; static masks are worst",
        "mechanism 3",
        (("sparse", "Static masks return less"), ("mast", "Static masks return less"), ("mast", "MAST is ahead of RigL")),
    ),
    Entry(
        "A small dense network of equal size is ahead of every sparse one but MAST's",
        "paper",
        (("sparse", "A small dense"), ("mast", "A small dense"), ("mast", "MAST is ahead of a small dense")),
    ),
    Entry(
        "Fewer FLOPs need not show in running time",
        "open question 2",
        (("sparse", "Unstructured sparsity"), ("mast", "Unstructured sparsity")),
    ),
    Entry("Win rates on 3m, 2s3z, 3s5z and 2c_vs_64zg", "key results", note=SMAC, instead=CANNOT),
    Entry("Agents of one type get alike topologies, stalkers more connections than zealots", "open question 3", note=SMAC, instead=CANNOT),
    Entry("It works with WQMIX and RES as well", "key results", note="Mixers here are VDN's and QMIX's.", instead=OPEN),
)
DOCUMENTS = {
    "Trajectory separation (MagMA)": MAGMA,
    "Bottom-up network (BUN, arXiv:2410.02516)": BUN,
    "Fully independent communication (arXiv:2401.15059)": COMMUNICATION,
    "Adaptive parameter sharing (AdaPS, arXiv:2312.09009)": ADAPS,
    "MAST (arXiv:2409.19391)": MAST,
}
