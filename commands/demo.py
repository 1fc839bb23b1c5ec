"""The whole way in one command: train, evaluate, package, and play a match on the official engine."""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arena.evaluate import evaluate_checkpoint
from arena.players import extract
from arena.scratch import Scratch
from commands.options import RUNS, UsageError, parse
from commands.show import play_shown, print_match, print_scores
from submission.package import package
from training.config import TrainConfig
from training.presets import PRESETS
from training.run.lock import FILE as LOCK
from training.run.lock import locked
from training.run.metrics import files_of_run, read_metrics
from training.run.ready import get_ready
from training.tasks import learner as tasks
from training.train import throw_away, train

SCRATCH = tasks.Options(
    ("lights", "heavies", "watering", "building"), bare=True, objective="growth", games=24, lr=3e-3, ent_coef=0.01, evaluate_games=32
)
"""Learning on tasks from scratch; its iterations are an option of the demo."""


@dataclass(frozen=True)
class Demo:
    preset: Literal["tasks", "full", "demo"] = "tasks"
    """tasks: the whole game from scratch, decided at the level of tasks. full: the same in primitive actions. demo: the survival skill
    alone, in a quarter of the time."""
    iterations: int = 30
    """Of learning on tasks, of 24 games each."""
    env_steps: int | None = None
    """Environment steps of training in primitive actions (default: 128,000 for full, 102,400 for demo)."""
    seed: int = 1
    run_dir: Path = RUNS / "demo"
    """Folder of everything that the demo makes; an earlier demo's files in it are removed, and a folder that holds others is refused."""


MADE = ("heads.pt", "heads.tasks.npz", "submission.tar.gz", "replay.json.gz", "logs/left.log", "logs/right.log", "logs")


def clear(folder: Path) -> None:
    """Remove an earlier demo, and nothing else. Raises `UsageError` for a folder that holds more than that."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; the demo needs a folder.")
    made = [*files_of_run(folder), *(folder / name for name in MADE)]
    foreign = sorted({*folder.glob("*"), *folder.glob("logs/*")} - set(made))
    if foreign:
        raise UsageError(f"{foreign[0]} was not made by the demo, which makes its folder anew; name another with --run-dir.")
    with locked(folder):
        for path in made:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink(missing_ok=True)


def run(argv: list[str]) -> None:
    args = parse(Demo, argv, "demo", __doc__)
    if args.preset == "tasks" and args.env_steps is not None:
        raise UsageError("--env-steps is of --preset full and demo; learning on tasks takes --iterations.")
    if args.run_dir.exists():
        clear(args.run_dir)
    prepare(args)
    began = time.perf_counter()
    player, scores, map_size = learn_tasks(args) if args.preset == "tasks" else learn_actions(args)
    seconds = time.perf_counter() - began
    print("3/4  Packaging ...", flush=True)
    tarball = args.run_dir / "submission.tar.gz"
    package(player, tarball)
    print("4/4  Playing against miner on the official engine ...", flush=True)
    with Scratch("demo") as folder:
        extract(tarball, folder)
        result = play_shown(str(folder), "miner", 7, map_size, args.run_dir / "replay.json.gz", args.run_dir / "logs")
    print_scores(scores, f"32 unseen maps, {seconds:.0f} s of training and evaluation")
    print_match(result, names=("trained agent", "miner"))
    for what, path in (("run", args.run_dir), ("submission", tarball), ("replay", args.run_dir / "replay.json.gz")):
        print(f"{what:>12}  {path}")


def prepare(args: Demo) -> None:
    """Compile, or read from disk, what learning will call: before the clock starts."""
    if args.preset == "tasks":
        tasks.get_ready(task_options(args))
    else:
        get_ready(throw_away, train_config(args))


def task_options(args: Demo) -> tasks.Options:
    return dataclasses.replace(SCRATCH, iterations=args.iterations, evaluate_every=args.iterations, seed=args.seed)


def train_config(args: Demo) -> TrainConfig:
    env_steps = args.env_steps or {"full": 128_000, "demo": 102_400}[args.preset]
    return dataclasses.replace(PRESETS[args.preset], env_steps=env_steps, seed=args.seed)


def learn_tasks(args: Demo) -> tuple[Path, dict[str, float], int]:
    """Learn on tasks; returns what plays, its scores against itself and against the rule of `warden`, and the size of the maps."""
    options = task_options(args)
    games = f"{options.games} games on {options.map_size}x{options.map_size} maps"
    print(f"1/4  Learning from scratch, {options.iterations} times {games}, a line for each ...", flush=True)
    tasks.learn(options, args.run_dir)
    print("2/4  Evaluated on 32 unseen maps.", flush=True)
    *_, last = read_metrics(args.run_dir)
    scores = {"lichen_a_side": last["eval/lichen"], "share_against_warden": last["eval/share_rule"]}
    return args.run_dir / "heads.tasks.npz", scores, options.map_size


def learn_actions(args: Demo) -> tuple[Path, dict[str, float], int]:
    """Learn in primitive actions; returns the same of that."""
    config = train_config(args)
    print(f"1/4  Training {config.env_steps:,} environment steps on {config.map_size}x{config.map_size} maps ...", flush=True)
    train(config, args.run_dir)
    print("2/4  Evaluating on 32 unseen maps ...", flush=True)
    return args.run_dir, evaluate_checkpoint(str(args.run_dir), 32, progress=True), config.map_size
