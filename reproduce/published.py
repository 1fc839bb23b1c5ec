"""The published ablation of trajectory separation as data, and our runs beside it as a report.

Published protocol: 3 seeds, 102,400 env steps, rollout 4,096 env steps, minibatch 512 env steps, 10 epochs, Adam 2e-4,
clipped value loss; every 4,096 steps an evaluation on 12 unseen maps of 1,000 turns, one model playing both sides. A game is
*finished* if both sides own a factory at its end; *ice* is what a player's robots bring to its factories in a game.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

Run = dict[str, Any]  # one stored run, see `reproduce.measured.run_once`

PROTOCOLS = {"paper": "the paper's protocol", "ours": "our protocol"}
BUDGET = 102_400  # env steps of a published run
LEVELS = (0.10, 0.95)  # shares of finished games whose first evaluation is told


class Published(NamedTuple):
    """A row of the published table. Where it prints thousands (57k) the step is the multiple of 4,096 that it means."""

    title: str
    ice: float
    length: float
    to_10: int | None
    to_95: int | None
    ice_sd: float | None = None


# in the order of the paper
PUBLISHED: dict[str, Published] = {
    "separate": Published("separate trajectory for every entity", 44_472, 1000, 28_672, 49_152, 12_065),
    "global_factories": Published("global factories, separate robots", 43_528, 1000, 28_672, 49_152),
    "global_robots": Published("separate factories, global robots", 3_573, 485, 98_304, None),
    "factory_group_robot_group": Published("one factory group, one robot group", 6_162, 742, 81_920, None),
    "single_global": Published("single global trajectory", 3_066, 466, 102_400, None, 2_996),
    "robots_mod_2": Published("robots in 2 groups (id mod 2)", 14_400, 967, 57_344, None),
    "robots_mod_4": Published("robots in 4 groups (id mod 4)", 29_500, 1000, 36_864, 77_824),
    "robots_mod_8": Published("robots in 8 groups (id mod 8)", 32_000, 1000, 32_768, 61_440),
    "robots_mod_16": Published("robots in 16 groups (id mod 16)", 36_800, 1000, 28_672, 57_344),
    "robots_quadrant": Published("robots by map quadrant", 22_400, 1000, 53_248, 98_304),
    "robots_nearest_factory": Published("robots by closest factory", 27_000, 1000, 45_056, 94_208),
    "robots_nearest_heavy": Published("robots by closest heavy", 35_200, 1000, 36_864, 73_728),
    "own_reward_75": Published("own:global reward 75:25", 33_985, 1000, 28_672, 57_344),
    "own_reward_50": Published("own:global reward 50:50", 24_244, 992, 45_056, 94_208),
    "own_reward_0": Published("own:global reward 0:100", 9_614, 763, 53_248, None),
    "global_value": Published("global critic value", 30_687, 994, 40_960, 69_632),
    "global_reward_and_value": Published("global reward and critic", 2_643, 380, 73_728, None),
    "global_log_prob": Published("global log-prob (ratio)", 3_673, 506, 98_304, None),
    "global_done": Published("global dones", 47_201, 1000, 28_672, 49_152),
    "global_entropy": Published("global entropy", 41_970, 1000, 28_672, 53_248),
    "lichen_on": Published("lichen on", 32_199, 992, 40_960, 102_400),
    "no_action_mask": Published("no action mask", 0, 151, None, None),
    "random_placement": Published("random placement", 316, 195, None, None),
}


def first_step(run: Run, level: float) -> int | None:
    """Env steps at the first evaluation with at least `level` of the games finished; `None`: never."""
    curve = run["curve"]
    return next((step for step, finished in zip(curve["env_steps"], curve["finished"]) if finished >= level), None)


def median_step(steps: Sequence[int | None]) -> float | None:
    """Median with `None` (never) later than every step; `None` where the median itself is never reached."""
    middle = statistics.median([float("inf") if step is None else step for step in steps])
    return None if middle == float("inf") else middle


def by_row(runs: Sequence[Run], protocol: str) -> dict[str, list[Run]]:
    """The runs of a protocol by row, in the published order, each row's by seed."""
    chosen = sorted((run for run in runs if run["protocol"] == protocol), key=lambda run: run["seed"])
    rows = {name: [run for run in chosen if run["row"] == name] for name in PUBLISHED}
    return {name: found for name, found in rows.items() if found}


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """One row's runs as numbers: final ice and length (mean and sample deviation), and the steps of every seed."""
    out: dict[str, Any] = {"seeds": [run["seed"] for run in runs]}
    for name in ("ice", "length"):
        last = [run["curve"][name][-1] for run in runs]
        out[name] = statistics.fmean(last)
        out[f"{name}_sd"] = statistics.stdev(last) if len(last) > 1 else None
    for level in LEVELS:
        steps = [first_step(run, level) for run in runs]
        out[f"to_{level * 100:.0f}"] = median_step(steps)
        out[f"to_{level * 100:.0f}_each"] = steps
    out["train_seconds"] = statistics.fmean(run["train_seconds"] for run in runs)
    out["eval_seconds"] = statistics.fmean(run["eval_seconds"] for run in runs)
    return out


def aggregate(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything the table and the plots show, small enough to keep beside them: summaries and curves."""
    shown = ("env_steps", "train_seconds", "finished", "ice", "length", "factories", "entropy")
    rounded = {"finished": 4, "factories": 3, "entropy": 4}
    out: dict[str, Any] = {}
    for protocol in PROTOCOLS:
        out[protocol] = {}
        for name, found in by_row(runs, protocol).items():
            curves = {
                str(run["seed"]): {
                    key: [value if value is None else round(value, rounded.get(key, 1)) for value in run["curve"][key]] for key in shown
                }
                for run in found
            }
            out[protocol][name] = {**summary(found), "curves": curves}
    return out


# -------------------------------------------------------------------------------------------------------------- markdown


def report(runs: Sequence[Run], plots: dict[str, str]) -> str:
    """The results page as markdown; `plots` has the file name of each protocol's learning curves.

    Everything on it is computed from `runs`. Raises `ValueError` if there are none.
    """
    if not runs:
        raise ValueError("There are no finished runs to report; run some first.")
    parts = [
        "# Trajectory separation: the published table, run again",
        "This page is written by `python main.py reproduce magma` from its stored runs. *Published* lines are the paper's; the others are "
        "this project's engine, network, placement and action space (heavy robots, ice, no lichen), under the paper's protocol "
        "(the `paper` preset) or ours (the `demo` preset). Steps are environment steps. Steps to 10 % and 95 % are those of the first "
        "evaluation with so many games finished, the median over seeds; on 12 maps 95 % means all of them. "
        "Final ice and length are the last evaluation's, mean ± sample deviation over seeds.",
        "## Table",
        table(runs),
        "## Separate against single global",
        *(ratio_lines(runs) or ["Not both rows were run in any protocol."]),
        "## Learning curves",
        *(f"![Learning curves, {PROTOCOLS[name]}]({file})" for name, file in plots.items()),
        "Lines are means over seeds, bands reach from the lowest to the highest seed.",
        "## How it was run",
        *(how_run(runs, name) for name in plots),
        "## What was not run",
        "\n".join(f"- {line}" for line in not_run(runs)) or "Every published row was run in both protocols.",
    ]
    return "\n\n".join(parts) + "\n"


def table(runs: Sequence[Run]) -> str:
    """One block of lines for each row that was run: as published, then ours under each protocol."""
    lines = [
        "| variant | setting | final ice | final length | steps to 10 % | steps to 95 % | seeds |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    groups = {name: by_row(runs, name) for name in PROTOCOLS}
    for name, paper in PUBLISHED.items():
        if not any(name in group for group in groups.values()):
            continue
        ice = _with_sd(paper.ice, paper.ice_sd)
        lines.append(f"| **{paper.title}** | published | {ice} | {paper.length:,.0f} | {_step(paper.to_10)} | {_step(paper.to_95)} | 3 |")
        for protocol, label in PROTOCOLS.items():
            found = groups[protocol].get(name)
            if not found:
                continue
            s = summary(found)
            cells = [_with_sd(s["ice"], s["ice_sd"]), _with_sd(s["length"], s["length_sd"])]
            cells += [_median_and_never(s[f"to_{k}_each"]) for k in ("10", "95")]
            lines.append(f"| `{name}` | {label} | {' | '.join(cells)} | {len(found)} |")
    return "\n".join(lines)


def ratio_lines(runs: Sequence[Run]) -> list[str]:
    """For each protocol with both rows: how many times the steps of separate trajectories the single global one needs."""
    lines = []
    for protocol, label in PROTOCOLS.items():
        rows = by_row(runs, protocol)
        if "separate" not in rows or "single_global" not in rows:
            continue
        ppo = rows["separate"][0]["config"]["ppo"]
        told = []
        for level in LEVELS:
            steps = {name: [first_step(run, level) for run in rows[name]] for name in ("separate", "single_global")}
            budget = min(run["config"]["env_steps"] for run in rows["single_global"])
            ours = ratio(median_step(steps["separate"]), median_step(steps["single_global"]), budget)
            seeds = "; ".join(f"{name} {', '.join(map(_step, each))}" for name, each in steps.items())
            told.append(f"{ours} to {level * 100:.0f} % finished ({seeds})")
        rollout = ppo["num_games"] * ppo["rollout_steps"]
        lines.append(
            f"- Under {label}, a rollout of {rollout:,} env steps, the single global trajectory needs "
            f"{' and '.join(told)}: medians of the seeds listed."
        )
    if lines:
        one, other = PUBLISHED["separate"], PUBLISHED["single_global"]
        lines.append(
            f"- Published: {ratio(one.to_10, other.to_10, BUDGET)} to 10 %, {ratio(one.to_95, other.to_95, BUDGET)} to 95 % "
            f"({_step(one.to_10)} and {_step(one.to_95)} steps against {_step(other.to_10)} and {_step(other.to_95)})."
        )
    return ["\n".join(lines)] if lines else []


def ratio(separate: float | None, single: float | None, budget: int) -> str:
    """How many times as many steps `single` takes, in words; `None` is never within `budget` steps."""
    if separate is None and single is None:
        return "no ratio, since neither got there"
    if separate is None:
        return "no ratio, since only the single global trajectory got there"
    if separate == 0:
        return "no ratio, since the untrained policy was there"
    if single is None:
        return f"**more than {budget / separate:.1f} times** the steps (never within {budget:,})"
    return f"**{single / separate:.1f} times** the steps"


def how_run(runs: Sequence[Run], protocol: str) -> str:
    """Command, revision, settings and time of a protocol's runs, as stored with them."""
    rows = by_row(runs, protocol)
    found = [run for group in rows.values() for run in group]
    first = found[0]
    config, ppo = first["config"], first["config"]["ppo"]
    seeds = sorted({run["seed"] for run in found})
    budgets = sorted({run["config"]["env_steps"] for run in found})
    command = f"python main.py reproduce magma --protocol {protocol} --rows {' '.join(rows)} --seeds {' '.join(map(str, seeds))}"
    command += f" --env-steps {budgets[-1]} --eval-maps {config['eval_maps']} --eval-every {config['eval_every']}"
    games, steps = ppo["num_games"], ppo["rollout_steps"]
    training, evaluating = (sum(run[f"{kind}_seconds"] for run in found) / len(found) for kind in ("train", "eval"))
    revisions = sorted({run["revision"] for run in found})
    lines = [
        f"{PROTOCOLS[protocol].capitalize()}, at revision {', '.join(revisions)}:",
        f"```\n{command}\n```",
        f"{games} {'staggered ' if config['stagger'] else ''}games x {steps} turns a rollout, {ppo['epochs']} "
        f"{'epoch' if ppo['epochs'] == 1 else 'epochs'} of {ppo['minibatches']} minibatches, learning rate {ppo['learning_rate']:g}"
        f"{' lowered to 0' if ppo['anneal_learning_rate'] else ''}, {'clipped' if ppo['clip_value_loss'] else 'plain'} value loss, "
        f"{config['policy']['extractor']} extractor, {first['parameters']:,} parameters, {config['map_size']}x{config['map_size']} maps, "
        f"on {first['device']}. A run took {training:,.0f} s of training and {evaluating:,.0f} s of evaluation "
        f"({evaluating / (training + evaluating):.0%} of both) on average, in CPU time and without compilation. "
        f"Evaluations: {evaluations(first['fine_eval_every'], config['eval_every'])}.",
    ]
    odd = sorted({key for run in found for key in different(_shared(first), _shared(run))})
    if odd:
        lines.append(f"**Not all of these runs have the same settings**; they differ in {', '.join(odd)}.")
    return "\n\n".join(lines)


def evaluations(fine: int, coarse: int) -> str:
    """How often a run is evaluated, in words."""
    if fine == coarse:
        return f"every {coarse:,} steps"
    return (
        f"every {fine:,} steps until step {16 * fine:,}, then twice as far apart at each doubling of the steps, "
        f"at most {coarse:,}; always every {coarse:,} once 95 % had finished"
    )


def not_run(runs: Sequence[Run]) -> list[str]:
    """Rows that are missing, for each protocol, and rows with fewer seeds than the paper's 3."""
    cannot = ["no_action_mask", "random_placement"]
    lines = [f"{' and '.join(PUBLISHED[name].title for name in cannot)}: the trainer always masks and places near ice."]
    for protocol, label in PROTOCOLS.items():
        rows = by_row(runs, protocol)
        missing = [name for name in PUBLISHED if name not in rows and name not in cannot]
        if not rows:
            lines.append(f"Under {label}: nothing was run.")
        elif missing:
            lines.append(f"Under {label}: {', '.join(f'`{name}`' for name in missing)}.")
        few = [f"`{name}` {len(found)}" for name, found in rows.items() if len(found) < 3]
        if few:
            lines.append(f"Under {label} with fewer than 3 seeds: {', '.join(few)}.")
    return lines


def different(one: Any, other: Any, where: str = "") -> list[str]:
    """Dotted names of the entries in which two configs (plain JSON values) differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(set(one) | set(other))
        return [name for key in keys for name in different(one.get(key), other.get(key), f"{where}.{key}" if where else key)]
    return [] if one == other else [where]


def _shared(run: Run) -> dict[str, Any]:
    """A run's settings without what makes it this row and seed, and what decides nothing."""
    config = {key: value for key, value in run["config"].items() if key not in ("seed", "grouping", "switches")}
    config["actions"] = {key: value for key, value in config["actions"].items() if key != "water"}
    return {**config, "fine_eval_every": run["fine_eval_every"], "parameters": run["parameters"], "device": run["device"]}


def _step(step: float | None) -> str:
    return "never" if step is None else f"{step:,.0f}"


def _with_sd(mean: float, sd: float | None) -> str:
    return f"{mean:,.0f}" if sd is None else f"{mean:,.0f} ± {sd:,.0f}"


def _median_and_never(steps: Sequence[int | None]) -> str:
    never = sum(step is None for step in steps)
    middle = _step(median_step(steps))
    return middle if never in (0, len(steps)) else f"{middle} ({never} of {len(steps)} never)"
