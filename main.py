"""Train, test and ship agents for Lux AI Season 2.

python main.py VERB [options]          python main.py VERB --help
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

RUNS = Path("runs")


class UsageError(Exception):
    """The command cannot be carried out as it was given; the message is a sentence for its user."""


# ---------------------------------------------------------------------------------------------------------------- train


def train(argv: list[str]) -> None:
    """Train an agent; the run folder holds checkpoints, metrics (TensorBoard and metrics.jsonl) and the config.

    On several GPUs or machines: torchrun --nproc-per-node GPUS main.py train ... (docs/scaling.md).
    """
    from training import checkpoint, parallel
    from training.config import PRESETS, TrainCommand
    from training.train import Stopped, check_resumable, config_of, run_to_resume
    from training.train import train as run_training

    chosen = _early(argv, "--preset", "demo")
    if chosen not in PRESETS:
        raise UsageError(f"There is no preset {chosen!r}; accepted are {', '.join(PRESETS)}.")

    with parallel.group():
        start = TrainCommand(config=PRESETS[chosen], preset=chosen)
        if init := _early(argv, "--init", ""):
            first = parallel.on_first(lambda: config_of(checkpoint.load(init, check=config_of).config))
            start = dataclasses.replace(start, config=dataclasses.replace(start.config, policy=first.policy, actions=first.actions))
        if "--resume" in argv:
            named = Path(_early(argv, "--run-dir", str(RUNS / f"{chosen}-{_early(argv, '--seed', str(start.config.seed))}")))
            run_dir, config = parallel.on_first(lambda: run_to_resume(named))
            start = TrainCommand(config=config, preset=chosen, run_dir=run_dir, resume=True)
        args = _parse(TrainCommand, argv, "train", train, default=start)
        run_dir = start.run_dir or args.run_dir or RUNS / f"{chosen}-{args.config.seed}"
        if args.resume:
            check_resumable(start.config, args.config)
        try:
            scores = run_training(args.config, run_dir, args.resume, args.init)
        except Stopped as stopped:
            if parallel.rank() == 0:
                print(stopped)
            return
        if parallel.rank() > 0:
            return
    print(f"The run is in {run_dir}; see it with: tensorboard --logdir {run_dir}")
    if scores:
        print_scores(scores, f"{args.config.eval_maps} unseen maps")


# --------------------------------------------------------------------------------------------------------------- report


@dataclass(frozen=True)
class Report:
    run_dir: tyro.conf.Positional[Path] = Path("latest")
    """A run folder, or `latest`."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report.html")
    """The page to write; it is one file and needs no network."""


def report(argv: list[str]) -> None:
    """Make a page of a run, going on or ended: curves, ratings of its league, alarms, settings, revision."""
    from training.report import write_report

    args = _parse(Report, argv, "report", report)
    check_output(args.output)
    plots = write_report(args.run_dir, args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB, {plots} plots")


# -------------------------------------------------------------------------------------------------------------- imitate


def imitate(argv: list[str]) -> None:
    """Train an agent on the decisions of a teacher: a built-in opponent, or replays; `train --init` goes on from it."""
    from functools import partial

    from submission.opponents import make_act, names
    from submission.replay_page.recording import read_recording
    from training.imitate import ImitateCommand, ImitateConfig, check_resumable, read_replays, run_to_resume
    from training.imitate import imitate as run_imitation

    start = ImitateCommand(config=ImitateConfig())
    if "--resume" in argv:
        teacher, seed = _early(argv, "--teacher", start.config.teacher), _early(argv, "--seed", str(start.config.seed))
        run_dir = Path(_early(argv, "--run-dir", str(RUNS / f"imitate-{teacher}-{seed}")))
        start = ImitateCommand(config=run_to_resume(run_dir), run_dir=run_dir, resume=True)
    args = _parse(ImitateCommand, argv, "imitate", imitate, default=start)
    config = args.config
    run_dir = args.run_dir or RUNS / f"imitate-{config.teacher}-{config.seed}"
    if args.resume:
        check_resumable(start.config, config)
    if config.teacher not in names():
        raise UsageError(f"Teacher {config.teacher!r} is not built in; accepted are {', '.join(names())}; others teach by --replays.")
    opponent: Any = config.opponent
    if opponent is not None:
        opponent = partial(make_act, opponent) if opponent in names() else scripted_opponent(opponent)
    replays = read_replays([Path(name) for name in config.replays], read_recording, config, run_dir)
    last = run_imitation(config, run_dir, partial(make_act, config.teacher), opponent, replays, args.resume)
    print(f"The run is in {run_dir}; go on from it with: python main.py train --preset full --init {run_dir}")
    scores = {name.partition("/")[2]: value for name, value in last.items() if name.startswith("eval/")}
    if scores:
        print_scores(scores, f"{config.eval_maps} unseen maps")


# ------------------------------------------------------------------------------------------------------------- evaluate


@dataclass(frozen=True)
class Evaluate:
    checkpoint: tyro.conf.Positional[str] = "shipped"
    """Checkpoint, run folder (its best checkpoint), `latest` (the run under runs/ that was saved last), or `shipped`."""
    maps: int = 32
    """Unseen maps of 1000 turns."""
    map_size: int | None = None
    """12 to 64 (default: the size that the agent was trained on)."""
    seed: int = 0
    """Which maps, and of the sampling of actions."""
    opponent: str | None = None
    """A checkpoint, or a built-in opponent; without one the agent plays both sides."""
    greedy: bool = False
    """Take the likeliest action instead of sampling."""
    json: Path | None = None
    """Write the scores here."""


def evaluate(argv: list[str]) -> None:
    """Play an agent on unseen maps on the fast engine and print how it did."""
    from training.evaluate import evaluate_checkpoint

    args = _parse(Evaluate, argv, "evaluate", evaluate)
    check_output(args.json)
    opponent = scripted_opponent(args.opponent) if args.opponent else None
    scores = evaluate_checkpoint(args.checkpoint, args.maps, args.map_size, args.seed, opponent, args.greedy, progress=True)
    print_scores(scores, f"{args.maps} unseen maps")
    write_json(args.json, scores)


def scripted_opponent(name: str) -> Any:
    """A built-in opponent as `evaluate` plays it in this process; other names are passed on as checkpoints."""
    from agent.stored import WORDS
    from submission.opponents import make_act, names
    from training.evaluate import Scripted

    if name in names():
        return Scripted(lambda: make_act(name))
    if name not in WORDS and not Path(name).exists():
        raise UsageError(
            f"Opponent {name!r} does not exist; accepted are {', '.join(names())}, a checkpoint, a run folder, latest, and shipped."
        )
    return name


# ------------------------------------------------------------------------------------------------ package, submit, play


@dataclass(frozen=True)
class Package:
    checkpoint: tyro.conf.Positional[str] = "shipped"
    """Checkpoint, run folder (its best checkpoint), `latest` (the run under runs/ that was saved last), or `shipped`."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("submission.tar.gz")
    """The tarball to write."""
    greedy: bool = False
    """Play the likeliest action instead of sampling."""
    verify: bool = True
    """Play a whole game on each side, the way the judge executes a package, and refuse one that would fail."""
    json: Path | None = None
    """Write the report here."""


def package(argv: list[str]) -> None:
    """Build the tarball that the judge takes (main.py at its top, needs only numpy and torch) and verify it."""
    from submission.package import package as build
    from submission.verify import verified_package

    args = _parse(Package, argv, "package", package)
    check_output(args.output)
    check_output(args.json)
    measured = None
    if args.verify:
        with game_progress() as progress:
            report, measured = verified_package(args.checkpoint, args.output, args.greedy, progress)
        print("\n".join(measured.lines()))
    else:
        report = build(args.checkpoint, args.output, args.greedy)
    print(f"{report.path}: {report.size_bytes / 1e6:.2f} MB, {report.parameters:,} parameters, from {report.checkpoint}")
    write_json(args.json, {**report.as_dict(), "verified": measured and measured.as_dict()})


@contextmanager
def game_progress() -> Iterator[Callable[[str, int], None]]:
    """A line of progress for each of some games, which are told apart by their titles."""
    from rich.progress import Progress, TaskID

    with Progress(transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(title: str, turn: int) -> None:
            if title not in tasks:
                tasks[title] = bar.add_task(f"Verifying: {title}", total=1000)
            bar.update(tasks[title], completed=turn)

        yield show


@dataclass(frozen=True)
class Submit:
    what: tyro.conf.Positional[str] = "latest"
    """A tarball, or a checkpoint or run folder, which is packaged first."""
    message: Annotated[str | None, tyro.conf.arg(aliases=["-m"])] = None
    """Shown beside the submission (default: the file's name and the beginning of its digest)."""
    competition: Annotated[str, tyro.conf.arg(aliases=["-c"])] = "lux-ai-season-2"
    """The competition's slug."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("submission.tar.gz")
    """The tarball to write when a checkpoint is submitted."""
    dry_run: bool = False
    """Do everything but send."""
    verify: bool = True
    """Verify the package first, as `package` does."""


def submit(argv: list[str]) -> None:
    """Verify a package and send it to Kaggle with Kaggle's own client, which must be logged in."""
    from submission import upload
    from submission.package import package as build
    from submission.verify import verified_package, verify

    args = _parse(Submit, argv, "submit", submit)
    known = upload.credentials()
    if known is None and not args.dry_run:
        raise UsageError(upload.NO_CREDENTIALS)
    upload.client()
    packed = args.what.endswith((".tar.gz", ".tgz"))
    file = Path(args.what) if packed else args.output
    if not packed:
        check_output(file)
    elif not file.is_file():
        raise UsageError(f"{file} does not exist; make it with: main.py package CHECKPOINT -o {file}")
    if args.verify:
        with game_progress() as progress:
            measured = verify(file, progress=progress) if packed else verified_package(args.what, file, progress=progress)[1]
        print("\n".join(measured.lines()))
    elif not packed:
        build(args.what, file)
    sending = upload.plan(file, args.message, args.competition)
    print("\n".join([*sending.lines(), f"credentials  {known or 'none: sending would fail'}"]))
    if args.dry_run:
        print("Nothing was sent (--dry-run).")
    else:
        print(upload.send(sending))


@dataclass(frozen=True)
class Play:
    left: tyro.conf.Positional[str] = "shipped"
    """Who plays player_0: a built-in opponent, a tarball, a folder with main.py, a checkpoint, a run folder, `latest`, or `shipped`."""
    right: tyro.conf.Positional[str] = "farmer"
    """Who plays player_1."""
    seed: int = 0
    """Of the map."""
    map_size: int = 48
    """12 to 64; 48 plays 2-5 factories a side, 64 plays 4-10."""
    replay: Path | None = None
    """Write the replay here (JSON; compressed when the name ends in .gz)."""
    json: Path | None = None
    """Write the result here."""
    logs: Path | None = None
    """Folder for what the two sides write to stderr."""
    record_thoughts: bool = False
    """Put into the replay what checkpoints think of their robots and factories: values and probabilities of the actions."""


def play(argv: list[str]) -> None:
    """Play one match on the official engine, each side a process of its own."""
    args = _parse(Play, argv, "play", play)
    check_output(args.json)
    check_output(args.replay)
    if args.record_thoughts and args.replay is None:
        raise UsageError("--record-thoughts puts them into the replay; name its file with --replay.")
    result = play_shown(args.left, args.right, args.seed, args.map_size, args.replay, args.logs, args.record_thoughts)
    print_match(result)
    write_json(args.json, result.as_dict())


def play_shown(
    left: str, right: str, seed: int, map_size: int, replay: Path | None = None, logs: Path | None = None, record_thoughts: bool = False
) -> Any:
    """A match with a line of progress."""
    from rich.progress import Progress

    from submission.match import play_match

    with Progress(transient=True) as bar:
        task = bar.add_task(f"{left} against {right}", total=1000)
        return play_match(
            left,
            right,
            seed,
            map_size,
            replay=replay,
            log_dir=logs,
            progress=lambda turn, _: bar.update(task, completed=turn),
            record_thoughts=record_thoughts,
        )


# --------------------------------------------------------------------------------------------------------------- replay


@dataclass(frozen=True)
class Replay:
    file: tyro.conf.Positional[Path]
    """A replay of ours or of the official runner, or a Kaggle episode: JSON, compressed or not."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("page.html")
    """The page to write; it is one file and needs no network."""


def replay(argv: list[str]) -> None:
    """Make a page to look at a match: the board turn by turn, curves, queues, and what an agent thought if recorded."""
    from submission.replay_page import write_page

    args = _parse(Replay, argv, "replay", replay)
    report = write_page(args.file, args.output)
    print(
        f"{report.path}: {report.size_bytes / 1e6:.2f} MB, {report.frames - 1} turns of {' against '.join(report.names)}. {report.reason}"
    )


# ----------------------------------------------------------------------------------------------------------------- rate


@dataclass(frozen=True)
class Rate:
    players: tyro.conf.Positional[tuple[str, ...]] = ()
    """Built-in opponents, tarballs, folders with main.py, programs, checkpoints, run folders, `latest`, `shipped`; none: show the file."""
    against: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--pool"])] = ()
    """A fixed pool that the players meet instead of each other."""
    games: int = 20
    """Games of each pair; every map is played from both sides."""
    map_size: int = 48
    """12 to 64; 48 plays 2-5 factories a side, 64 plays 4-10."""
    seed: int = 0
    """Which maps."""
    referee: Literal["fast", "official"] | None = None
    """fast: our engine, in this process, no clock. official: the official engine, each side a process, the judge's time rules.
    By default fast for checkpoints and built-in opponents, official as soon as a side is anything else. A game that is in the results file
    is not played again by the other referee."""
    jobs: int | None = None
    """Processes (default: the cores there are)."""
    confidence: float | None = None
    """Stop early when the order is certain at this level, for instance 0.95 (default: play all games)."""
    results: Path = RUNS / "ratings" / "results.jsonl"
    """Every finished game is added here and none in it is played again; ratings.md and ratings.png are written beside it."""


def rate(argv: list[str]) -> None:
    """Play players against each other and say who is better, and how sure that is; killed, the same command goes on."""
    from training.rating.report import print_table, write_report
    from training.rating.results import Results
    from training.rating.standings import connected, tabulate
    from training.rating.tournament import Rules, cores

    args = _parse(Rate, argv, "rate", rate)
    rules = Rules(args.games, args.map_size, args.seed, args.referee, cores() if args.jobs is None else args.jobs, args.confidence)
    rules.check()
    stopped = False
    if args.players:
        idents, stopped = rate_shown(args, rules)
    elif not args.results.is_file():
        raise UsageError(f"No players are given, and there is no results file {args.results} to show; name at least two players.")
    with Results(args.results) as results:
        games = [game for game in results.games if game.map_size == args.map_size]
    shown = connected(games, idents) if args.players else games
    if shown:
        table = tabulate(shown)
        title = f"Ratings on {args.map_size}x{args.map_size} maps"
        print_table(table, title)
        print(f"{len(shown)} games: {table.referees()}. Written: {', '.join(map(str, write_report(table, title, args.results.parent)))}")
    else:
        print(f"{args.results} holds no games on {args.map_size}x{args.map_size} maps.")
    if stopped:
        print(f"All games that have ended are in {args.results}; the same command goes on.", file=sys.stderr)
        raise KeyboardInterrupt


def rate_shown(args: Rate, rules: Any) -> tuple[list[str], bool]:
    """A tournament with a line of progress; the identities of its players, and whether it was interrupted."""
    from training.rating.entrants import Field
    from training.rating.report import Progress
    from training.rating.results import Results
    from training.rating.tournament import check_field, run

    with Field([*args.players, *args.against]) as field:
        entrants, count = field.entrants, len(args.players)
        check_field(entrants[:count], entrants[count:], rules)  # before a file is made
        idents = [entrant.ident for entrant in entrants]
        with Results(args.results, write=True) as results:
            try:
                with Progress() as progress:
                    ending = run(field, len(args.against), rules, results, progress)
            except KeyboardInterrupt:
                return idents, True
    certain = f" The order is certain ({rules.confidence:.0%}), so the rest was not played." if ending.early else ""
    print(f"{ending.played} games played, {ending.found} were there.{certain}")
    return idents, False


# ---------------------------------------------------------------------------------------------------------------- bench


@dataclass(frozen=True)
class Bench:
    what: tyro.conf.Positional[Literal["engine", "train", "act"]] = "engine"
    """engine: against the official one, at three loads. train: a whole training. act: a packaged agent's turn, 200 robots."""
    seconds: float = 10.0
    """How long each measurement takes, about."""
    json: Path | None = None
    """Write the numbers here."""


def bench(argv: list[str]) -> None:
    """Measure speed, side by side with what it is compared with."""
    args = _parse(Bench, argv, "bench", bench)
    check_output(args.json)
    if args.what == "engine":
        from benchmarks.engine import main as measure
    elif args.what == "train":
        from benchmarks.train import main as measure
    else:
        from benchmarks.act import main as measure
    write_json(args.json, measure(args.seconds))


# ----------------------------------------------------------------------------------------------------------------- demo


@dataclass(frozen=True)
class Demo:
    preset: Literal["full", "demo"] = "full"
    """full: the whole game. demo: the survival skill alone, in a quarter of the time."""
    env_steps: int | None = None
    """Environment steps of training (default: 128,000 for full, 102,400 for demo)."""
    seed: int = 1
    run_dir: Path = RUNS / "demo"
    """Folder of everything that the demo makes; it is made anew."""


def demo(argv: list[str]) -> None:
    """The whole way in one command: train, evaluate, package, and play a match on the official engine."""
    import shutil
    import tempfile

    from submission.package import package as build
    from submission.players import extract
    from training.config import PRESETS
    from training.evaluate import evaluate_checkpoint
    from training.train import train as run_training

    args = _parse(Demo, argv, "demo", demo)
    env_steps = args.env_steps or {"full": 128_000, "demo": 102_400}[args.preset]
    config = dataclasses.replace(PRESETS[args.preset], env_steps=env_steps, seed=args.seed)
    if args.run_dir.exists():
        if not (args.run_dir / "metrics.jsonl").is_file():
            raise UsageError(f"{args.run_dir} exists and is no run; the demo makes its folder anew, so name another.")
        shutil.rmtree(args.run_dir)
    print(f"1/4  Training {env_steps:,} environment steps on {config.map_size}x{config.map_size} maps ...", flush=True)
    began = time.perf_counter()
    run_training(config, args.run_dir)
    seconds = time.perf_counter() - began
    print("2/4  Evaluating on 32 unseen maps ...", flush=True)
    scores = evaluate_checkpoint(str(args.run_dir), 32, progress=True)
    print("3/4  Packaging ...", flush=True)
    tarball = args.run_dir / "submission.tar.gz"
    build(args.run_dir, tarball)
    print("4/4  Playing against miner on the official engine ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="lux-demo-") as folder:
        extract(tarball, Path(folder))
        result = play_shown(folder, "miner", 7, config.map_size, args.run_dir / "replay.json.gz", args.run_dir / "logs")
    print_scores(scores, f"32 unseen maps, {seconds:.0f} s of training")
    print_match(result, names=("trained agent", "miner"))
    for what, path in (("run", args.run_dir), ("submission", tarball), ("replay", args.run_dir / "replay.json.gz")):
        print(f"{what:>12}  {path}")


# ------------------------------------------------------------------------------------------------------------ reproduce


def reproduce(argv: list[str]) -> None:
    """Run published experiments again (magma, bun, communication, adaps, sparse, mast), compare the backbones on the game, or learn
    what the place of a factory is worth (opening)."""
    from training.reproduce import EXPERIMENTS

    if argv and argv[0] in ("-h", "--help"):
        print(f"{reproduce.__doc__}\n\nusage: main.py reproduce NAME [options], where NAME is one of: {', '.join(EXPERIMENTS)}")
        return
    if not argv or argv[0] not in EXPERIMENTS:
        what = f"There is no experiment {argv[0]!r}" if argv else "No experiment was named"
        raise UsageError(f"{what}; accepted are {', '.join(EXPERIMENTS)}.")
    options, experiment = EXPERIMENTS[argv[0]]
    written = experiment(_parse(options, argv[1:], f"reproduce {argv[0]}", reproduce))
    print(f"Written: {', '.join(map(str, written))}")


# --------------------------------------------------------------------------------------------------------------- shared


def print_scores(scores: dict[str, float], title: str) -> None:
    """A table of evaluation scores."""
    from rich.console import Console
    from rich.table import Table

    table = Table("score", "value", title=title)
    for name, value in scores.items():
        table.add_row(name.replace("_", " "), f"{value:.1%}" if name in ("finished", "win_rate", "pool_win_rate") else f"{value:,.1f}")
    Console().print(table)


def print_match(result: Any, names: tuple[str, str] | None = None) -> None:
    """A table of a match result."""
    from rich.console import Console
    from rich.table import Table

    left, right = names or (result.left.name, result.right.name)
    table = Table("", left, right, title=f"winner: {result.winner} after {result.turns} turns")
    for label in ("lichen", "factories", "robots", "turn_ms_median", "turn_ms_p99", "error"):
        values = [getattr(side, label) for side in (result.left, result.right)]
        table.add_row(label.replace("_", " "), *("-" if value is None else f"{value:g}" if label != "error" else value for value in values))
    Console().print(table)
    print(result.reason)


def write_json(path: Path | None, values: Any) -> None:
    """Write values for programs, if a path was given."""
    if path is not None:
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def check_output(path: Path | None) -> None:
    """Make the folder of a file that is written after long work, and refuse a path that cannot be written before it."""
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written.")


def _early(argv: list[str], flag: str, default: str) -> str:
    """The value of a flag that decides the defaults of all others."""
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(flag + "="):
            return word[len(flag) + 1 :]
    return default


def _parse(kind: Any, argv: list[str], verb: str, function: Callable[..., None], **options: Any) -> Any:
    return tyro.cli(kind, args=argv, prog=f"main.py {verb}", description=function.__doc__, **options)


VERBS: dict[str, Callable[[list[str]], None]] = {
    "demo": demo,
    "train": train,
    "report": report,
    "imitate": imitate,
    "evaluate": evaluate,
    "package": package,
    "submit": submit,
    "play": play,
    "replay": replay,
    "rate": rate,
    "bench": bench,
    "reproduce": reproduce,
}


def main(argv: list[str]) -> int:
    """Run a verb; returns the exit code: 2 for what the user can mend."""
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__)
        for name, function in VERBS.items():
            print(f"  {name:<10}{(function.__doc__ or '').splitlines()[0]}")
        return 0 if argv else 2
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        print(f"There is no verb {verb!r}; accepted are {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    from training.checkpoint import CheckpointError
    from training.train import Stopped, TrainingError

    try:
        VERBS[verb](rest)
    except OSError as error:
        print(f"error: {error.strerror or error} ({error.filename}).", file=sys.stderr)
        return 2
    except (UsageError, CheckpointError, TrainingError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
