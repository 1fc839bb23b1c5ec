"""Train an agent on the decisions of a teacher: a built-in opponent, or replays; `train --init` goes on from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from arena.evaluate import Scripted, opponent_named, scripted_named
from arena.players import is_program
from arena.replay_page.recording import read_recording
from commands.options import RUNS, early, parse
from commands.show import print_scores
from training.imitation.imitate import OWN, ImitateCommand, ImitateConfig, check_resumable, imitate, read_replays, run_to_resume
from training.run.lock import locked
from training.run.metrics import check_new


def run(argv: list[str]) -> None:
    start = ImitateCommand(config=ImitateConfig())
    if "--resume" in argv:
        teacher, seed = early(argv, "--teacher", start.config.teacher), early(argv, "--seed", str(start.config.seed))
        run_dir = Path(early(argv, "--run-dir", str(RUNS / f"imitate-{Path(teacher).name}-{seed}")))
        start = ImitateCommand(config=run_to_resume(run_dir), run_dir=run_dir, resume=True)
    args = parse(ImitateCommand, argv, "imitate", __doc__, default=start)
    config = args.config
    run_dir = args.run_dir or RUNS / f"imitate-{Path(config.teacher).name}-{config.seed}"
    if args.resume:
        check_resumable(start.config, config)
    teacher = scripted_named(config.teacher).make
    opponent: Any = None if config.opponent is None else opponent_named(config.opponent)
    if isinstance(opponent, Scripted):
        opponent = opponent.make
    if is_program(config.teacher) or is_program(config.opponent or ""):  # which cannot begin in the middle of a game
        config = dataclasses.replace(config, lessons=dataclasses.replace(config.lessons, teacher_places=True))
    if not args.resume:
        check_new(run_dir, OWN)
    with locked(run_dir):
        replays = read_replays([Path(name) for name in config.replays], read_recording, config, run_dir)
        last = imitate(config, run_dir, teacher, opponent, replays, args.resume, args.logger)
    print(f"The run is in {run_dir}; go on from it with: python main.py train --preset full --init {run_dir}")
    scores = {name.partition("/")[2]: value for name, value in last.items() if name.startswith("eval/")}
    if scores:
        print_scores(scores, f"{config.eval_maps} unseen maps")
