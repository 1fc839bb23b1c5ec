"""Train an agent into a run folder of checkpoints, metrics and config. --help-all shows all options.

On several GPUs or machines: torchrun --nproc-per-node GPUS main.py train ... (docs/scaling.md).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from agent.plain import from_dict, to_dict
from commands.options import PROGRAM, RUNS, UsageError, early, parse
from commands.short_help import short_help
from commands.show import print_scores
from training.config import TrainConfig, config_of
from training.presets import PRESETS
from training.run import checkpoint, parallel
from training.run.loggers import Logger
from training.run.stopping import Stopped
from training.train import check_resumable, run_to_resume, train


@dataclass(frozen=True)
class TrainCommand:
    """The options of `main.py train`."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    preset: str = "demo"
    """Where the other options start from: demo (the survival skill, fast), full (the whole game), advised (the whole game with
    a scripted agent's advice) or paper (the published protocol)."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """A file of options (JSON), such as another run's config.json; what it leaves out is the preset's, and options here override it."""
    run_dir: Path | None = None
    """Folder of the run (default: runs/PRESET-SEED)."""
    init: str | None = None
    """Start with the weights of this checkpoint or run folder (of imitate, say), with its network and what it may do. What is good already
    wants a smaller --ppo.learning-rate than the preset demo has."""
    logger: Logger = "tensorboard"
    """Where curves and settings go besides metrics.jsonl: tensorboard, wandb (the package wandb, into the run folder; nothing is uploaded
    unless WANDB_MODE=online is set), or none."""
    resume: bool = False
    """Go on from the latest checkpoint of the run folder, by the config stored there; what must not change is refused.
    With more --env-steps a lowered learning rate rises again, to what it would be there in a run of that length."""


MATTER = (
    *("preset", "run-dir", "resume", "init", "config"),
    *("env-steps", "seed", "map-size", "eval-every", "eval-maps", "device", "threads", "algo"),
    *("ppo.num-games", "ppo.learning-rate", "policy.backbone", "policy.features", "reward.terms", "league.share", "league.scripted"),
)
EXAMPLES = """
  # the survival skill
  {program} train --run-dir runs/first
  # the whole game; Ctrl-C saves, and the second command goes on
  {program} train --preset full --run-dir runs/whole --seed 2
  {program} train --resume --run-dir runs/whole
  # go on for longer, or from another run's weights with a smaller step
  {program} train --resume --run-dir runs/whole --env-steps 512000
  {program} train --preset full --init runs/whole --ppo.learning-rate 3e-4 --run-dir runs/second
  # half of the games against past policies and opponents
  {program} train --preset full --league.share 0.5 --league.scripted miner farmer
  # a smaller map, parts of your own
  {program} train --map-size 32 --policy.features features.py:thirst --reward.terms rewards.py:busy
"""


def help_that_matters(start: TrainCommand) -> str:
    """The twenty options that most runs are made of, at their present values, and examples."""
    options = {}
    for name in MATTER:
        part, _, field = name.replace("-", "_").rpartition(".")
        holder = start if hasattr(start, field) and not part else start.config
        options[name] = (getattr(holder, part) if part else holder, "config_file" if field == "config" else field)
    program = PROGRAM if PROGRAM == "luxs2" else f"python {PROGRAM}"
    more = f"All options: {program} train --help-all; with --preset NAME or --config FILE, too, the values are of that."
    return short_help(f"{PROGRAM} train [options]", __doc__ or "", options, EXAMPLES.strip("\n").format(program=program), more)


def seen_with(logger: Logger, run_dir: Path) -> str:
    """How to look at a run."""
    shown = {"tensorboard": f"tensorboard --logdir {run_dir}", "wandb": f"wandb sync {run_dir}/wandb/offline-run-*"}
    return f"see it with: {shown.get(logger, f'python main.py report {run_dir}')}"


def read_config(path: Path, preset: TrainConfig) -> TrainConfig:
    """The preset with the values of a file: a run's config.json, a part of one, or that of a checkpoint. Raises `ValueError`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no object of options.")
    if "format" in values and isinstance(values.get("config"), dict):  # of a checkpoint
        values = values["config"].get("train", {})
    return from_dict(TrainConfig, merged(to_dict(preset), values))


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`values` with `changes`, those of a part into the part."""
    both = dict(values)
    for name, value in changes.items():
        both[name] = merged(both[name], value) if isinstance(value, dict) and isinstance(both.get(name), dict) else value
    return both


def run(argv: list[str]) -> None:
    chosen = early(argv, "--preset", "demo")
    if chosen not in PRESETS:
        raise UsageError(f"There is no preset {chosen!r}; accepted are {', '.join(PRESETS)}.")

    with parallel.group():
        start = TrainCommand(config=PRESETS[chosen], preset=chosen)
        if file := early(argv, "--config", ""):
            start = dataclasses.replace(start, config=read_config(Path(file), PRESETS[chosen]), config_file=Path(file))
        if init := early(argv, "--init", ""):
            first = parallel.on_first(lambda: config_of(checkpoint.load(init, check=config_of).config))
            start = dataclasses.replace(start, config=dataclasses.replace(start.config, policy=first.policy, actions=first.actions))
        if "--resume" in argv:
            named = Path(early(argv, "--run-dir", str(RUNS / f"{chosen}-{early(argv, '--seed', str(start.config.seed))}")))
            run_dir, config = parallel.on_first(lambda: run_to_resume(named))
            start = TrainCommand(config=config, preset=chosen, run_dir=run_dir, resume=True)
        if "--help" in argv or "-h" in argv:
            print(help_that_matters(start))
            return
        wanted = ["--help" if word == "--help-all" else word for word in argv]
        args = parse(TrainCommand, wanted, "train", __doc__, default=start)
        run_dir = start.run_dir or args.run_dir or RUNS / f"{chosen}-{args.config.seed}"
        if args.resume:
            check_resumable(start.config, args.config)
        try:
            scores = train(args.config, run_dir, args.resume, args.init, logger=args.logger)
        except Stopped as stopped:
            if parallel.rank() == 0:
                print(stopped)
            return
        if parallel.rank() > 0:
            return
    print(f"The run is in {run_dir}; {seen_with(args.logger, run_dir)}")
    if scores:
        print_scores(scores, f"{args.config.eval_maps} unseen maps")
