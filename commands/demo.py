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
from training.presets import PRESETS
from training.train import train


@dataclass(frozen=True)
class Demo:
    preset: Literal["full", "demo"] = "full"
    """full: the whole game. demo: the survival skill alone, in a quarter of the time."""
    env_steps: int | None = None
    """Environment steps of training (default: 128,000 for full, 102,400 for demo)."""
    seed: int = 1
    run_dir: Path = RUNS / "demo"
    """Folder of everything that the demo makes; it is made anew."""


def run(argv: list[str]) -> None:
    args = parse(Demo, argv, "demo", __doc__)
    env_steps = args.env_steps or {"full": 128_000, "demo": 102_400}[args.preset]
    config = dataclasses.replace(PRESETS[args.preset], env_steps=env_steps, seed=args.seed)
    if args.run_dir.exists():
        if not (args.run_dir / "metrics.jsonl").is_file():
            raise UsageError(f"{args.run_dir} exists and is no run; the demo makes its folder anew, so name another.")
        shutil.rmtree(args.run_dir)
    print(f"1/4  Training {env_steps:,} environment steps on {config.map_size}x{config.map_size} maps ...", flush=True)
    began = time.perf_counter()
    train(config, args.run_dir)
    seconds = time.perf_counter() - began
    print("2/4  Evaluating on 32 unseen maps ...", flush=True)
    scores = evaluate_checkpoint(str(args.run_dir), 32, progress=True)
    print("3/4  Packaging ...", flush=True)
    tarball = args.run_dir / "submission.tar.gz"
    package(args.run_dir, tarball)
    print("4/4  Playing against miner on the official engine ...", flush=True)
    with Scratch("lux-demo-") as folder:
        extract(tarball, folder)
        result = play_shown(str(folder), "miner", 7, config.map_size, args.run_dir / "replay.json.gz", args.run_dir / "logs")
    print_scores(scores, f"32 unseen maps, {seconds:.0f} s of training")
    print_match(result, names=("trained agent", "miner"))
    for what, path in (("run", args.run_dir), ("submission", tarball), ("replay", args.run_dir / "replay.json.gz")):
        print(f"{what:>12}  {path}")
