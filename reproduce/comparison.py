"""All backbones on the game: the same survival run for each, with nothing changed but the backbone: `reproduce backbones`."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from agent.backbones.adaps import AdapsConfig
from agent.backbones.bun import BUNConfig
from agent.backbones.communication import CommunicationConfig
from agent.opening import opening
from agent.policy import SAYS_KIND, Policy, PolicyConfig, policy_sizes
from arena.evaluate import EVALUATION_SEEDS
from arena.plots import save_png
from engine.maps import MapPool
from reproduce.measured import CURVE, MASTERED, Job, line, run_once, stored
from reproduce.plots import learning_curves
from reproduce.published import Run, first_step, median_step
from reproduce.verdicts import HOLDS, REFUTED, Finding, at_least, more, verdicts
from submission.files import write_whole
from training.config import TrainConfig
from training.presets import PRESETS
from training.run.runs import check_options, read_run, run_all
from wrappers.vec_env import VecEnv

FINE = 512  # env steps between the first evaluations
ROUNDS, TURNS = 9, 60  # of the timing: rounds that are compared, and turns played before it, so that robots are about


class Row(NamedTuple):
    """A policy to compare."""

    title: str
    policy: PolicyConfig


ROWS: dict[str, Row] = {
    "dense": Row("dense", PolicyConfig()),
    "bun": Row("BUN", PolicyConfig(backbone="bun")),
    "bun_blocks": Row("BUN, never growing", PolicyConfig(backbone="bun", bun=BUNConfig(connections="blocks"))),
    "dense_team": Row("BUN's team network, all weights", PolicyConfig(backbone="bun", bun=BUNConfig(connections="dense"))),
    "communication": Row("communication", PolicyConfig(backbone="communication")),
    "communication_frozen": Row(
        "communication, frozen messages", PolicyConfig(backbone="communication", communication=CommunicationConfig(messages="frozen"))
    ),
    "communication_none": Row(
        "communication, no messages", PolicyConfig(backbone="communication", communication=CommunicationConfig(messages="none"))
    ),
    "adaps": Row("AdaPS", PolicyConfig(backbone="adaps")),
    "adaps_full": Row("full sharing", PolicyConfig(backbone="adaps", adaps=AdapsConfig(sharing="full", hidden_features=SAYS_KIND))),
    "sparse_90": Row("dense, 90 % sparse (RigL)", PolicyConfig(sparsity=0.9)),
}


@dataclass(frozen=True)
class Backbones:
    """The options of `main.py reproduce backbones`."""

    rows: tuple[str, ...] = tuple(ROWS)
    """Policies to compare; an unknown one lists them all."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of every row."""
    env_steps: int = 102_400
    """Environment steps a run."""
    runs: Path = Path("runs/reproduce/backbones")
    """Folder of the runs, one JSON each; those that are there are not run again."""
    out: Path | None = None
    """Folder of backbones.md and backbones.png, made from all runs in the folder of the runs (default: that one; `--out docs/results`
    publishes them)."""
    jobs: int = 1
    """Runs at the same time, each a process with one thread."""
    eval_maps: int = 32
    """Unseen maps of an evaluation."""
    eval_every: int = 25_600
    """Environment steps between evaluations; there are closer ones, from 512 on, until 95 % first finished."""
    report_only: bool = False
    """Run nothing, only write the results anew."""


def backbones(options: Backbones) -> list[Path]:
    """Make the runs that are missing, then write the table and the curves; returns the files written.

    Raises `ValueError` for options that do not fit, and for a stored run that was made with other settings.
    """
    unknown = [row for row in options.rows if row not in ROWS]
    if unknown:
        raise ValueError(f"There is no row {unknown[0]!r}; accepted are {', '.join(ROWS)}.")
    check_options(options, ("rows", "seeds"))
    jobs = [job_of(options, row, seed) for seed in options.seeds for row in options.rows]
    if not options.report_only:
        run_all(jobs, options.jobs, run_once, stored, line, lambda: None)
    return write_results(options.runs, options.out or options.runs)


def job_of(options: Backbones, row: str, seed: int) -> Job:
    """The demo preset with the row's policy, and nothing else changed."""
    changes = {"env_steps": options.env_steps, "eval_maps": options.eval_maps, "eval_every": options.eval_every}
    config: TrainConfig = dataclasses.replace(PRESETS["demo"], seed=seed, policy=ROWS[row].policy, **changes)
    return Job("backbones", row, config, options.runs / f"{row}-{seed}.json", min(FINE, options.eval_every))


def write_results(runs_dir: Path, out: Path) -> list[Path]:
    """Write backbones.md and backbones.png from all stored runs; returns their paths. Raises `ValueError` if there are none."""
    runs = [read_run(path, CURVE) for path in sorted(runs_dir.glob("*.json"))]
    by_row = {name: [run for run in runs if run["row"] == name] for name in ROWS}
    by_row = {name: found for name, found in by_row.items() if found}
    if not by_row:
        raise ValueError(f"There are no finished runs in {runs_dir}; run some first.")
    curves = {name: [run["curve"] for run in found] for name, found in by_row.items()}
    save_png(learning_curves(curves, "The survival skill by backbone", log_steps=True), out / "backbones.png")
    write_whole(out / "backbones.md", report(by_row, decisions_a_second(list(by_row))))
    return [out / "backbones.md", out / "backbones.png"]


def report(by_row: Mapping[str, list[Run]], speed: Mapping[str, float]) -> str:
    """The results page as markdown; `speed` are decisions a second, measured while writing."""
    first = next(iter(by_row.values()))[0]
    config = first["config"]
    seeds = sorted({run["seed"] for found in by_row.values() for run in found})
    command = f"python main.py reproduce backbones --rows {' '.join(by_row)} --seeds {' '.join(map(str, seeds))}"
    command += f" --env-steps {config['env_steps']} --eval-maps {config['eval_maps']} --eval-every {config['eval_every']}"
    missing = [name for name in ROWS if name not in by_row]
    few = [f"`{name}` ({len(found)})" for name, found in by_row.items() if len(found) < len(seeds)]
    revisions = sorted({run["revision"] for found in by_row.values() for run in found})
    parts = [
        "# Backbones on the game",
        f"```\n{command}\n```",
        f"Written by this command from its stored runs, at revision {', '.join(revisions)}. Every row is the demo preset (survival on "
        f"48x48 maps) with another backbone and nothing else changed, seeds {', '.join(map(str, seeds))}, evaluated on "
        f"{config['eval_maps']} unseen maps; mean ± sample deviation over seeds. Steps to 95 % are those of the first evaluation with "
        "so many games finished, the median over seeds. FLOPs and parameters are the backbone's (extractor and heads are the same in "
        "all rows; sparse training masks the extractor too, so `policy weights` counts what is present in all of the policy). Decisions "
        f"a second are those of the whole policy acting for {PRESETS['demo'].ppo.num_games} games on one core, all rows in turns in one "
        f"process, median of {ROUNDS}.",
        table(by_row, speed),
        "![Learning curves](backbones.png)",
        "Lines are means over seeds, bands reach from the lowest to the highest seed.",
        "## Claims",
        "Differences and ratios of final ice with their 95 % intervals, seeds being pairs; a verdict is a t-test's, corrected "
        "for all that are tested here (Holm).",
        "\n".join(f"- {claim}" for claim in claims(by_row)),
    ]
    if missing:
        parts.append(f"Not run: {', '.join(f'`{name}`' for name in missing)}.")
    if few:
        parts.append(f"With fewer seeds than the others: {', '.join(few)}.")
    return "\n\n".join(parts) + "\n"


def table(by_row: Mapping[str, list[Run]], speed: Mapping[str, float]) -> str:
    """One line a row."""
    lines = [
        "| row | ice a side | finished | steps to 95 % | parameters | policy weights | FLOPs a decision | decisions/s | training, CPU s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in by_row.items():
        step = median_step([first_step(run, MASTERED) for run in found])
        stats: dict[str, Any] = found[0]["stats"]
        cells = (
            ROWS[name].title,
            with_deviation([run["curve"]["ice"][-1] for run in found]),
            f"{statistics.fmean(run['curve']['finished'][-1] for run in found):.0%}",
            "never" if step is None else f"{step:,.0f}",
            f"{stats['parameters']:,.0f}",
            f"{stats['policy_parameters']:,.0f}",
            f"{stats['flops']:,.0f}",
            f"{speed[name]:,.0f}",
            f"{statistics.fmean(run['train_seconds'] for run in found):.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_deviation(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):,.0f}"
    return f"{mean} ± {statistics.stdev(values):,.0f}" if len(values) > 1 else mean


def claims(by_row: Mapping[str, list[Run]]) -> list[str]:
    """What the papers lead one to expect, and what came out, with a verdict each (`reproduce.verdicts`)."""
    stats = {name: found[0]["stats"] for name, found in by_row.items()}
    ice = {name: {run["seed"]: run["curve"]["ice"][-1] for run in found} for name, found in by_row.items()}
    out = []

    def counted(text: str, holds: bool) -> None:
        out.append(f"{text}: {HOLDS if holds else f'**{REFUTED}**'}.")

    for name in by_row:
        if name in ("bun", "communication", "adaps", "sparse_90"):
            worst = min(run["curve"]["finished"][-1] for run in by_row[name])
            counted(
                f"{ROWS[name].title} finishes at least 95 % of the games in each of these seeds ({worst:.0%} in the worst)", worst >= 0.95
            )
    if {"bun", "dense_team"} <= set(by_row):
        share = stats["bun"]["flops"] / stats["dense_team"]["flops"]
        counted(f"BUN needs at most 25 % of the FLOPs of the team network with all weights ({share:.1%})", share <= 0.25)
    shared = "adaps_full" if "adaps_full" in by_row else "dense"  # both are one network for all entities
    if {"adaps", shared} <= set(by_row):
        pair = stats["adaps"]["parameters"], stats[shared]["parameters"]
        counted(f"AdaPS has no more parameters than full sharing ({pair[0]:,.0f} and {pair[1]:,.0f})", pair[0] <= pair[1])
    tested: list[tuple[str, Finding | None]] = []
    for one, other, kept in (("bun", "dense_team", 0.95), ("sparse_90", "dense", 0.97)):
        if {one, other} <= set(by_row):
            tested.append((f"`{one}` has at least {kept:.0%} of the ice of `{other}`", at_least(ice[one], ice[other], kept)))
    for control in ("communication_frozen", "communication_none"):
        if {"communication", control} <= set(by_row):
            tested.append((f"Learned messages are ahead of `{control}` in ice", more(ice["communication"], ice[control])))
    for (text, finding), (verdict, p) in zip(tested, verdicts([finding for _, finding in tested])):
        numbers = "too few seeds" if finding is None else f"{finding.estimate:,.3f} [{finding.low:,.3f}, {finding.high:,.3f}], p {p:.3f}"
        out.append(f"{text} ({numbers}): {f'**{verdict}**' if verdict == REFUTED else verdict}.")
    return out


def decisions_a_second(names: list[str]) -> dict[str, float]:
    """Decisions a second of untrained policies of these rows on the same observation, on one core; medians over rounds."""
    torch.set_num_threads(1)
    preset = PRESETS["demo"]
    games = preset.ppo.num_games
    config = preset.game()
    policies = {name: Policy(ROWS[name].policy, policy_sizes(preset.actions, ROWS[name].policy)).eval() for name in names}
    sizes = policy_sizes(preset.actions)
    pool = MapPool(config, range(EVALUATION_SEEDS, EVALUATION_SEEDS + games))
    env = VecEnv(config, games, pool, opening, actions=preset.actions, shuffle=False, grid=sizes["plane_size"])
    env.reset()
    actor = policies[names[0]]
    generator = torch.Generator().manual_seed(1)
    for _ in range(TURNS):
        env.step(actor.act(env.obs, generator))
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name, policy in policies.items():
            start = time.perf_counter()
            for _ in range(5):
                policy.act(env.obs, generator)
            times[name].append((time.perf_counter() - start) / 5)
    return {name: env.obs.rows / statistics.median(found) for name, found in times.items()}
