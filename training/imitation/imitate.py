"""Imitation: a policy learns to decide as a teacher does, from lessons (`training.imitation.lessons`).

    the teacher plays -> a few passes over the lessons -> the student plays and the teacher says what it would do -> passes -> ...

A run folder holds the lessons (`lessons/round-0/game-00000.npz`, ...), which are played once and are there for good, the
students that played them, and checkpoints as a training has them; `train --init` goes on from one. A killed run goes on
from its last whole pass, and gets the same weights as one that was not killed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor

from agent.batch import Batch, plane_block
from agent.plain import differences, from_dict, to_dict
from agent.policy import Policy, PolicyConfig, policy_sizes
from agent.stored import Agent
from arena.evaluate import EVALUATION_SEEDS, evaluate
from arena.replay_page.recording import damage_told
from engine.config import GameConfig, check_range
from training.imitation.lessons import Lesson, LessonConfig, Lessons, Make, account, load, make, store
from training.imitation.replays import Recording, lessons_of
from training.presets import PRESETS
from training.run import checkpoint
from training.run.loggers import Logger, check_logger
from training.run.metrics import MetricsWriter, check_new
from training.run.progress import Clock, Progress
from training.run.sessions import record_session
from wrappers.action import KIND_NAMES, KINDS

LESSON_SEEDS = 500_000  # map seeds of lessons begin here: apart from those of training and of evaluation
CHUNK = 8  # lessons in memory at once
HELD_OUT = 8  # every so manieth lesson is not learned from, and measured
SHOWN = {"accuracy": ("accuracy/all", "{:.1%}"), "loss": ("losses/imitation", "{:.3f}"), "lichen": ("eval/lichen", "{:,.0f}")}


@dataclass(frozen=True)
class ImitateConfig:
    """A run of imitation. Lessons are made in rounds: the teacher plays the first, the student the others."""

    teacher: str = "farmer"
    """A built-in opponent, or a program (a .tar.gz, a folder with main.py), which plays its own opening."""
    opponent: str | None = None
    """Whom the teacher or the student meets: a built-in opponent, a program, a checkpoint (default: itself; both sides are lessons)."""
    replays: tuple[str, ...] = ()
    """Replays (ours or Kaggle's, .json or .json.gz) to learn from as well; with --games 0 --rounds 0 from nothing else."""
    winner_only: bool = False
    """Of replays, learn from the side that won only."""
    games: int = 24
    """Games of the first round, which the teacher plays."""
    rounds: int = 4
    """Further rounds: the student plays (every second game with the teacher taking a quarter of the decisions), the teacher tells."""
    round_games: int = 16
    """Games of each further round."""
    epochs: int = 4
    """Passes over all lessons so far, after each round."""
    batch: int = 4096
    """Rows of a minibatch, about."""
    learning_rate: float = 1e-3
    """At the start; it falls linearly to 0."""
    vf_coef: float = 0.05
    """Weight of the value loss; the policy comes first."""
    balance: float = 0.25
    """Rare kinds of action count for more: a decision weighs (share of its kind) ** -balance; 0 weighs all alike."""
    max_grad_norm: float = 0.5
    seed: int = 1
    greedy: bool = True
    """The student plays its likeliest actions, in lessons and on the unseen maps; sampling shows the imitation at its weakest."""
    eval_maps: int = 16
    """Unseen maps that are played after each round (0: none)."""
    jobs: int = 1
    """Processes that play lessons."""
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    """torch threads."""
    lessons: LessonConfig = field(default_factory=LessonConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, None, "games", "rounds", "seed")
        check_range(self, 1, None, "round_games", "epochs", "batch", "jobs", "threads")
        check_range(self, 0, 1000, "eval_maps")
        if self.policy.features:
            raise ValueError(f"policy.features are {' '.join(self.policy.features)}; lessons hold none of one's own, so leave them out.")
        if self.lessons.grid != policy_sizes(self.lessons.actions, self.policy, self.lessons.map_size)["plane_size"]:
            raise ValueError(f"lessons.grid is {self.lessons.grid}, which is not what policy.extractor {self.policy.extractor} sees.")


CHANGEABLE = ("jobs", "device", "threads", "eval_maps")  # by a resumed run


class Examples(NamedTuple):
    """A minibatch: what the policy sees, and what it is to answer."""

    batch: Batch
    action: Tensor  # [M, 4] int64
    taught: Tensor  # [t] int64, the rows that teach
    returns: Tensor  # [M] float32, nan where not known


class Imitator:
    """The policy, its optimiser, and how far the run is (`passes`: lessons learned from so far)."""

    def __init__(self, config: ImitateConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.device = torch.device(config.device)
        lessons = config.lessons
        self.policy = Policy(config.policy, policy_sizes(lessons.actions, config.policy, lessons.map_size)).to(self.device)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config.learning_rate, eps=1e-5)
        self.shuffle = np.random.default_rng(config.seed)
        self.weights = torch.ones(KINDS, device=self.device)
        self.passes = 0
        self.epochs = 0
        self.best = -1.0

    def weigh(self, paths: Sequence[Path]) -> None:
        """Set the weights of kinds by how often they occur in these lessons; the mean over decisions is 1."""
        share = np.sum([load(path).count[0] for path in paths], 0)
        share = np.maximum(share, 1) / share.sum()
        weights = share**-self.config.balance
        self.weights = torch.tensor(weights / (share * weights).sum(), dtype=torch.float32, device=self.device)

    def epoch(self, paths: Sequence[Path], total: int, after_chunk: Callable[[], None] = lambda: None) -> dict[str, float]:
        """One pass over the lessons, of `total` lessons that the run learns from in all; returns mean losses."""
        sums, count = {}, 0
        order = self.shuffle.permutation(len(paths))
        for chunk in np.array_split(order, -(-len(paths) // CHUNK)):
            lessons = join([load(paths[i]) for i in chunk])
            for views in minibatches(lessons, self.config.batch, self.shuffle):
                metrics = self.update(examples(self.policy, lessons, views, self.device))
                for name, value in metrics.items():
                    sums[name] = sums.get(name, 0.0) + value
                count += 1
            self.passes += len(chunk)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * max(0.0, 1.0 - self.passes / total)
            after_chunk()
        self.epochs += 1
        return {name: float(value) / count for name, value in sums.items()}

    def update(self, part: Examples) -> dict[str, Tensor]:
        """One step of the optimiser."""
        loss, metrics = imitation_loss(self.policy, part, self.weights, self.config.vf_coef)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.policy.after_backward()  # keeps absent weights absent; connections themselves change under PPO only
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise ValueError(f"The gradient's norm is {norm.item()} after {self.passes} lessons; the last whole pass is saved.")
        self.optimizer.step()
        return {**metrics, "losses/grad_norm": norm.detach()}

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the weights."""
        optimizer = self.optimizer.state_dict()
        return {"passes": self.passes, "epochs": self.epochs, "best": self.best, "optimizer": optimizer, "shuffle": self.shuffle}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.passes, self.epochs, self.best, self.shuffle = state["passes"], state["epochs"], state["best"], state["shuffle"]
        self.optimizer.load_state_dict(state["optimizer"])

    def stored_config(self) -> dict[str, Any]:
        """What a checkpoint stores, as of a training: `train` plays by the same rules, actions and rewards."""
        lessons, preset = self.config.lessons, PRESETS["demo"]
        run = dataclasses.replace(
            preset,
            map_size=lessons.map_size,
            seed=self.config.seed,
            policy=self.config.policy,
            actions=lessons.actions,
            reward=lessons.reward,
            ppo=dataclasses.replace(preset.ppo, gamma=lessons.gamma),
        )
        return {
            "train": to_dict(run),
            "policy": self.policy.full_config(),
            "actions": to_dict(lessons.actions),
            "imitate": to_dict(self.config),
        }


def imitation_loss(policy: Policy, part: Examples, weights: Tensor, vf_coef: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean negative log-likelihood of the teacher's actions, by `weights [KINDS]`, and half the squared error of the value
    where returns are known."""
    logits, value, _ = policy(part.batch)
    rows = part.taught
    likely = policy.distribution(logits[rows], part.batch.mask[rows]).evaluate(part.action[rows])
    weight = weights[part.action[rows, 0]]
    nll = -(weight * likely.log_prob).sum() / weight.sum().clamp_min(1e-6)
    known = torch.isfinite(part.returns)
    error = 0.5 * ((value - part.returns)[known] ** 2).sum() / max(int(known.sum()), 1)
    metrics = {"losses/imitation": nll.detach(), "losses/value_loss": error.detach(), "losses/entropy": likely.entropy.mean().detach()}
    return nll + vf_coef * error, metrics


def join(lessons: list[Lessons]) -> Lessons:
    """Several lessons as one; counts are summed."""
    starts = np.cumsum([0, *(len(part.planes) for part in lessons)])
    joined = {name: np.concatenate([getattr(part, name) for part in lessons]) for name in Lessons._fields[:-3]}
    joined["view"] = np.concatenate([part.view + start for part, start in zip(lessons, starts)])
    last = lessons[-1]
    return Lessons(**joined, count=np.sum([part.count for part in lessons], 0), outcome=last.outcome, map_size=last.map_size)


def minibatches(lessons: Lessons, rows: int, shuffle: np.random.Generator) -> Iterator[np.ndarray]:
    """Views in random order, in parts of about `rows` rows; each ascending."""
    lengths = np.bincount(lessons.view, minlength=len(lessons.planes))
    order = shuffle.permutation(len(lengths))
    part = (np.cumsum(lengths[order]) - 1) // rows
    for cut in np.split(order, np.flatnonzero(np.diff(part)) + 1):
        yield np.sort(cut)


def examples(policy: Policy, lessons: Lessons, views: np.ndarray, device: torch.device) -> Examples:
    """The rows of some views as tensors on the device."""
    first = np.searchsorted(lessons.view, np.arange(len(lessons.planes) + 1))
    lengths = first[views + 1] - first[views]
    rows = np.repeat(first[views] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())

    def index(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.int64))

    kind = lessons.kind[rows]
    batch = Batch(
        feature=torch.from_numpy(lessons.feature[rows].astype(np.float32)),
        side=index(np.repeat(np.arange(len(views)), lengths)),
        slot=index(lessons.slot[rows]),
        kind=index(kind),
        home=index(lessons.home[rows]),
        block=plane_block(index(lessons.cell[rows]), int(lessons.map_size), policy.sizes["plane_size"]),
        mask=torch.from_numpy(lessons.mask[rows]),
        planes=policy.extractor.arrange(torch.from_numpy(lessons.planes[views].astype(np.float32))),
        scalar=torch.from_numpy(lessons.scalar[views].astype(np.float32)),
        robots=index(np.flatnonzero(kind != 0)),
        factories=index(np.flatnonzero(kind == 0)),
    )
    taught = index(np.flatnonzero(lessons.taught[rows]))
    rest = (index(lessons.action[rows]), taught, torch.from_numpy(lessons.returns[rows]))
    return Examples(batch.to(device), *(tensor.to(device) for tensor in rest))


@torch.no_grad()
def measure(policy: Policy, paths: Sequence[Path], device: torch.device, batch: int = 8192) -> dict[str, float]:
    """How often the likeliest action is the teacher's, over decisions that are one; by the teacher's kind, and what is
    confused with what: `confusion/dig>move` is the share of the teacher's digs that the policy answers with a move."""
    hits, confusion, nll = np.zeros(KINDS), np.zeros((KINDS, KINDS)), 0.0
    for path in paths:
        lessons = load(path)
        for views in minibatches(lessons, batch, np.random.default_rng(0)):
            part = examples(policy, lessons, views, device)
            rows = part.taught
            chosen = policy.distribution(policy(part.batch).logits[rows], part.batch.mask[rows])
            told = part.action[rows]
            answer, _ = chosen.sample(greedy=True)
            nll -= float(chosen.evaluate(told).log_prob.sum())
            kind = told[:, 0].cpu().numpy()
            np.add.at(confusion, (kind, answer[:, 0].cpu().numpy()), 1)
            hits += np.bincount(kind, (answer == told).all(1).cpu().numpy(), KINDS)
    said = confusion.sum(1)
    metrics = {"accuracy/all": hits.sum() / max(said.sum(), 1), "losses/imitation_unseen": nll / max(said.sum(), 1)}
    for k in np.flatnonzero(said):
        metrics[f"accuracy/{KIND_NAMES[k]}"] = hits[k] / said[k]
        for j in np.flatnonzero(confusion[k]):
            metrics[f"confusion/{KIND_NAMES[k]}>{KIND_NAMES[j]}"] = confusion[k, j] / said[k]
    return {name: float(value) for name, value in metrics.items()}


def held_out(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(to learn from, to measure on); of few lessons all are both."""
    seen = [path for i, path in enumerate(paths) if i % HELD_OUT != HELD_OUT - 1]
    unseen = [path for i, path in enumerate(paths) if i % HELD_OUT == HELD_OUT - 1]
    return (seen, unseen) if unseen else (list(paths), list(paths))


def lessons_of_round(config: ImitateConfig, run_dir: Path, number: int) -> list[Lesson]:
    """The games of a round; the student of a later round is in `students/round-N`."""
    folder = run_dir / "lessons" / f"round-{number}"
    count = config.games if number == 0 else config.round_games
    start = LESSON_SEEDS + (0 if number == 0 else config.games + (number - 1) * config.round_games)
    student = None if number == 0 else str(run_dir / "students" / f"round-{number}")
    return [Lesson(folder / f"game-{i:05d}.npz", start + i, student, 1.0 if i % 2 else 0.75, config.greedy) for i in range(count)]


def make_all(work: Callable[[Lesson], Path], lessons: Sequence[Lesson], jobs: int, report: Callable[[int, int], None]) -> list[Path]:
    """Make the lessons that are not there yet, in processes of their own if there are several; returns all paths."""
    missing = [lesson for lesson in lessons if not lesson.path.exists()]
    if jobs == 1 or len(missing) < 2:
        for done, lesson in enumerate(missing, 1):
            work(lesson)
            report(done, len(missing))
    else:
        # spawned, since a fork copies the locks of threads that torch and numba have started
        with ProcessPoolExecutor(min(jobs, len(missing)), get_context("spawn")) as pool:
            for done, _ in enumerate(pool.map(work, missing), 1):
                report(done, len(missing))
    return [lesson.path for lesson in lessons]


def read_replays(replays: Sequence[Path], read: Callable[[Path], Recording], config: ImitateConfig, run_dir: Path) -> list[Path]:
    """Lessons of replays, made where they are not there yet."""
    paths = []
    for number, replay in enumerate(replays):
        path = run_dir / "lessons" / "replays" / f"{number:05d}.npz"
        if not path.exists():
            recording = read(replay)
            with damage_told(replay):
                lessons = lessons_of(recording, config.lessons, config.winner_only)
            store(path, lessons)
            _tell("replays", number + 1, len(replays))
        paths.append(path)
    return paths


def passes_in_all(config: ImitateConfig, extra: int) -> int:
    """Lessons that the run learns from, each as often as it does; `extra` are those of replays."""
    total = 0
    for number in range(config.rounds + 1):
        count = extra + config.games + number * config.round_games
        total += config.epochs * len(held_out([Path()] * count)[0])
    return total


OWN = ("lessons", "students")  # what there may be of a run that has not begun: lessons from replays come first


def imitate(
    config: ImitateConfig,
    run_dir: Path,
    teacher: Make,
    opponent: Make | str | None = None,
    extra: Sequence[Path] = (),
    resume: bool = False,
    logger: Logger = "tensorboard",
) -> dict[str, float]:
    """Run the imitation of `teacher` ; returns the last metrics. `extra` are lessons that are there (of replays).

    Raises `ValueError` for a folder that holds a run, and `CheckpointError` for one to resume that holds none.
    """
    check_logger(logger)
    imitator = Imitator(config)
    if resume:
        stored = checkpoint.load_to_resume(run_dir, config_of)
        if stored.trainer_state is None:
            raise checkpoint.CheckpointError(f"{stored.folder} has no trainer.pt; imitation cannot go on from it.")
        imitator.policy.load_state_dict(stored.policy_state)
        imitator.load_state(stored.trainer_state)
    else:
        check_new(run_dir, OWN)
    work = partial(make, config.lessons, teacher, opponent)
    total = passes_in_all(config, len(extra))
    clock = Clock()
    progress = Progress(total, clock, imitator.passes, title=run_dir.name, shown=SHOWN)
    paths = list(extra)
    latest: dict[str, float] = {}
    with MetricsWriter(run_dir, imitator.passes if resume else None, logger, to_dict(config)) as writer:
        record_session(run_dir, imitator.passes)
        if not resume:
            save(imitator, run_dir)  # so that a run that is killed early can be resumed all the same
        for number in range(config.rounds + 1):
            keep_student(imitator, run_dir, number)
            with clock("lessons"):
                paths += make_all(work, lessons_of_round(config, run_dir, number), config.jobs, partial(_tell, f"round {number}"))
            seen, unseen = held_out(paths)
            if imitator.epochs < (number + 1) * config.epochs:
                print(account(load(path) for path in paths), flush=True)
                imitator.weigh(seen)
            with progress:
                while imitator.epochs < (number + 1) * config.epochs:
                    with clock("update"):
                        latest = imitator.epoch(seen, total, lambda: progress.update(imitator.passes))
                    with clock("measure"):
                        latest.update(measure(imitator.policy, unseen, imitator.device))
                    if imitator.epochs == (number + 1) * config.epochs and config.eval_maps:
                        with clock("evaluation"):
                            latest.update({f"eval/{key}": value for key, value in scores(imitator).items()})
                    writer.write(imitator.passes, latest)
                    progress.update(imitator.passes, latest)
                    save(imitator, run_dir, latest.get("eval/lichen"))
    return latest


def keep_student(imitator: Imitator, run_dir: Path, number: int) -> None:
    """Store the policy that plays round `number`, unless it is there or the teacher plays."""
    folder = run_dir / "students" / f"round-{number}"
    if number > 0 and not folder.exists():
        checkpoint.save(folder, imitator.stored_config(), imitator.policy.state_dict(), step=imitator.passes)


def save(imitator: Imitator, run_dir: Path, lichen: float | None = None) -> Path:
    """A checkpoint of the run; the one that grew the most lichen so far is its best."""
    best = lichen is not None and lichen > imitator.best
    if best and lichen is not None:
        imitator.best = lichen
    config, weights = imitator.stored_config(), imitator.policy.state_dict()
    return checkpoint.save_to_run(run_dir, imitator.passes, config, weights, imitator.state(), best)


def scores(imitator: Imitator) -> dict[str, float]:
    """Scores of the policy as it is, playing itself on unseen maps."""
    config = imitator.config
    seeds = range(EVALUATION_SEEDS, EVALUATION_SEEDS + config.eval_maps)
    game = GameConfig.for_map_size(config.lessons.map_size)
    return evaluate(Agent(imitator.policy, config.lessons.actions), game, seeds, greedy=config.greedy).scores


def config_of(stored: dict[str, Any]) -> ImitateConfig:
    """The run's config from what a checkpoint stores. Raises `ValueError` if it is none of an imitation."""
    if stored.get("imitate") is None:
        raise ValueError("it is no run of imitation.")
    return from_dict(ImitateConfig, stored["imitate"])


def run_to_resume(run_dir: Path) -> ImitateConfig:
    """The config of the run in this folder. Raises `CheckpointError` if it holds none."""
    return config_of(checkpoint.load_to_resume(run_dir, config_of).config)


def check_resumable(stored: ImitateConfig, wanted: ImitateConfig) -> None:
    """Raises `ValueError` if more was changed than a resumed run can take."""
    changed = [name for name in differences(stored, wanted) if name not in CHANGEABLE]
    if changed:
        raise ValueError(f"A resumed run keeps its {', '.join(changed)}; what may change is {', '.join(CHANGEABLE)}.")


@dataclass(frozen=True)
class ImitateCommand:
    """The options of `main.py imitate`."""

    config: Annotated[ImitateConfig, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Folder of the run (default: runs/imitate-TEACHER-SEED)."""
    logger: Logger = "tensorboard"
    """Where curves and settings go besides metrics.jsonl: tensorboard, wandb (offline unless WANDB_MODE=online is set), or none."""
    resume: bool = False
    """Go on from the last whole pass of the run folder, by the config stored there."""


def _tell(what: str, done: int, total: int) -> None:
    print(f"lessons of {what}: {done}/{total} games", flush=True)
