"""A training run: start or resume it, step its learner, now and then evaluate and save, stop.

A run is a folder (`training.run.checkpoint`) with metrics beside the checkpoints. What learns in it is a `Learner`; the
loop here does not ask which. Started by `torchrun`, every rank runs this same loop, and the first writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from agent.plain import differences, to_dict
from agent.stored import Agent
from arena.evaluate import EVALUATION_SEEDS, evaluate
from engine.parts import is_part, load_part
from submission.files import write_whole
from training.config import TrainConfig, config_of
from training.learner import Learner
from training.ppo.learner import PPOLearner
from training.run import checkpoint, parallel
from training.run.health import health_of, keep_alarms_until, record_alarm
from training.run.lock import locked
from training.run.loggers import Logger, check_logger
from training.run.metrics import MetricsWriter, check_new
from training.run.progress import Clock, Progress
from training.run.ready import get_ready
from training.run.runs import revision
from training.run.sessions import record_session
from training.run.stopping import Stopped, StopRequest, TrainingError
from training.value_based.learner import ValueLearner

LEARNERS: dict[str, Callable[[TrainConfig, Clock], Learner]] = {
    "mppo": PPOLearner,
    "iql": ValueLearner,
    "vdn": ValueLearner,
    "qmix": ValueLearner,
}
Callback = Callable[[int, dict[str, float]], bool | None]  # (environment step, metrics of the iteration)
CHANGEABLE = ("env_steps", "device", "threads", "eval_every", "eval_maps", "checkpoint_every")  # by a resumed run


def make_learner(config: TrainConfig, clock: Clock) -> Learner:
    """What `config.algo` names, ready to begin. Raises `ValueError`."""
    return (load_part(config.algo) if is_part(config.algo) else LEARNERS[config.algo])(config, clock)


def throw_away(config: TrainConfig) -> Learner:
    """A learner whose time nobody counts."""
    return make_learner(config, Clock())


def train(
    config: TrainConfig,
    run_dir: Path,
    resume: bool = False,
    init: str | None = None,
    callback: Callback | None = None,
    logger: Logger = "tensorboard",
) -> dict[str, float]:
    """Train until `config.env_steps`; returns the last evaluation. Under `torchrun` it is called within `parallel.group()`.

    `init` names a checkpoint whose weights a new run starts with; its optimiser starts anew. `callback` is called after every
    iteration, on every rank; where it returns False, the run is saved and ends. `logger` says where curves go besides metrics.jsonl.

    With `resume` the run in `run_dir` goes on from its latest checkpoint; `config` is the one stored there, but for what
    `check_resumable` lets change. Raises `Stopped` when it was asked to stop and has saved.
    """
    check_logger(logger)
    with ExitStack() as held:
        parallel.on_first(lambda: take_folder(run_dir, resume, held))
        if not is_part(config.algo):  # who knows what making one more of a user's own would do
            get_ready(throw_away, config)
        clock = Clock()
        run = Run(make_learner(config, clock), run_dir)
        if resume:
            run.resume()
        else:
            run.start(init)
            parallel.on_first(lambda: write_whole(run_dir / "config.json", json.dumps(to_dict(config), indent=2) + "\n"))
        return go_on(run, clock, resume, callback, logger)


def take_folder(run_dir: Path, resume: bool, held: ExitStack) -> None:
    """Lock the run's folder until the end of `held`. Raises `ValueError` if it is another's, or for a new run not empty."""
    if not resume:
        check_new(run_dir)  # before anything is written to it
    held.enter_context(locked(run_dir))
    if not resume:
        check_new(run_dir)  # nor has another run begun there in between


def go_on(run: Run, clock: Clock, resumed: bool, callback: Callback | None = None, logger: Logger = "tensorboard") -> dict[str, float]:
    """The loop of `train`, from where the run is."""
    learner, config, run_dir = run.learner, run.learner.config, run.folder
    scores: dict[str, float] = {}
    saved = learner.env_steps
    eval_every = config.eval_every or config.env_steps
    clock.restart()
    reported = learner.env_steps - (run.waiting is not None)  # the last step whose metrics are written
    with reporting(run_dir, config, clock, reported if resumed else None, logger) as report, StopRequest() as stop:
        while not (stopped := parallel.any_rank(stop.requested)) and (run.waiting or learner.env_steps < config.env_steps):
            latest = run.waiting or run.step()
            run.waiting = None
            now, before = learner.env_steps, learner.env_steps - learner.iteration_steps
            ended = now >= config.env_steps
            fresh: dict[str, float] = {}
            due = ended or now // eval_every > before // eval_every
            if due and parallel.any_rank(stop.requested):
                run.waiting = latest  # evaluated and reported when the run goes on
                continue
            if due:
                with clock("evaluation"):
                    scores = fresh = parallel.on_first(lambda: evaluation(learner))
                latest.update({f"eval/{name}": value for name, value in scores.items()})
            report(now, latest)
            enough = callback is not None and parallel.any_rank(callback(now, latest) is False)
            if fresh or ended or enough or now // config.checkpoint_every > before // config.checkpoint_every:
                with clock("checkpoint"):
                    run.save(fresh)
                saved = now
            if enough:
                break
        if stopped and (run.waiting or learner.env_steps < config.env_steps):
            if saved != learner.env_steps:
                run.save()
            raise Stopped(f"Stopped at step {learner.env_steps:,} and saved in {run_dir}; go on with --resume --run-dir {run_dir}")
    return scores


class Run:
    """A learner, the folder it is saved in, and the best score so far."""

    def __init__(self, learner: Learner, folder: Path) -> None:
        self.learner, self.folder = learner, folder
        self.best_score = -np.inf
        self.waiting: dict[str, float] | None = None  # the metrics of an iteration whose evaluation is still to come

    def start(self, init: str | None) -> None:
        """Begin a new run, with the weights of the checkpoint `init` if one is named."""
        if init is not None:
            self.learner.begin_with(parallel.on_first(lambda: checkpoint.load(init, check=config_of)).policy_state)
        self.save()  # a run that is killed before its first checkpoint can be resumed all the same

    def resume(self) -> None:
        """Go on from the folder's latest checkpoint."""
        stored = parallel.on_first(lambda: checkpoint.load_to_resume(self.folder, config_of))
        if stored.trainer_state is None:
            raise checkpoint.CheckpointError(f"{stored.folder} holds a policy but no trainer.pt; training cannot go on from it.")
        self.learner.policy.load_state_dict(stored.policy_state)
        self.learner.load_state(stored.trainer_state)
        self.best_score = stored.trainer_state["best_score"]
        self.waiting = stored.trainer_state.get("waiting")
        steps, wanted = self.learner.env_steps, self.learner.config.env_steps
        if steps >= wanted and not self.waiting:
            raise ValueError(f"The run is at step {steps:,} of {wanted:,}; to go on, give a larger --env-steps.")

    def step(self) -> dict[str, float]:
        """One iteration; returns its metrics. Where the learner cannot go on, the last good weights are saved."""
        try:
            return self.learner.step_iteration()
        except TrainingError as error:
            folder = self.save()
            raise TrainingError(
                f"{error} The last good weights are saved in {folder}; go on from them in a new run with smaller steps: "
                f"train --init {folder} --algo {self.learner.config.algo} "
                f"--{self.learner.options}.learning-rate {self.learner.learning_rate / 3:.1g}"
            ) from error

    def save(self, scores: dict[str, float] | None = None) -> Path:
        """Checkpoint the run (all ranks call, the first writes); `scores` of an evaluation decide whether it is the best (`merit`)."""
        best = bool(scores) and merit(scores) > self.best_score
        if scores and best:
            self.best_score = merit(scores)
        learner = self.learner
        state = {"best_score": self.best_score, "waiting": self.waiting, **learner.state()}
        return parallel.on_first(
            lambda: checkpoint.save_to_run(
                self.folder, learner.env_steps, full_config(learner), learner.policy.state_dict(), state, best=best
            )
        )


def evaluation(learner: Learner) -> dict[str, float]:
    """Scores of the policy as it is on the run's unseen maps, and what its learner measures besides."""
    config = learner.config
    agent = Agent(learner.policy, config.actions)
    seeds = range(EVALUATION_SEEDS, EVALUATION_SEEDS + config.eval_maps)
    return {**evaluate(agent, config.game(), seeds).scores, **learner.measure(agent)}


def merit(scores: dict[str, float]) -> float:
    """What the best checkpoint has most of: the rating against the pool; without a league games finished, then lichen, then ice."""
    return scores["rating"] if "rating" in scores else scores["finished"] + scores["lichen"] / 1e6 + scores["ice_transferred"] / 1e12


def full_config(learner: Learner) -> dict[str, Any]:
    """What a checkpoint stores: the code's revision, the run's config, and the policy's with the sizes it was built for."""
    return {
        "revision": revision(),
        "train": to_dict(learner.config),
        "policy": learner.policy.full_config(),
        "actions": to_dict(learner.config.actions),
    }


def run_to_resume(path: Path) -> tuple[Path, TrainConfig]:
    """The folder and the config of the run that `path` (a run folder, or `latest`) means. Raises `CheckpointError`."""
    stored = checkpoint.load_to_resume(path, config_of)
    if stored.folder == path or path.name in ("best", "latest") and path.is_file():
        raise checkpoint.CheckpointError(f"{path} is one checkpoint; resume the run that it is in, {stored.folder.parent}.")
    if "imitate" in stored.config:
        raise checkpoint.CheckpointError(f"{path} is a run of imitation; go on with imitate --resume, or train from it with --init {path}.")
    return stored.folder.parent, config_of(stored.config)


def check_resumable(stored: TrainConfig, wanted: TrainConfig) -> None:
    """Raises `ValueError` if more was changed than a resumed run can take."""
    changed = [name for name in differences(stored, wanted) if name not in CHANGEABLE]
    if changed:
        raise ValueError(f"A resumed run keeps its {', '.join(changed)}; what may change is {', '.join(CHANGEABLE)}.")


@contextmanager
def reporting(
    run_dir: Path, config: TrainConfig, clock: Clock, start: int | None, logger: Logger
) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A function that writes an iteration's metrics, shows the progress and tells alarms; on other ranks than the first it does nothing.

    `start` is the environment step that a resumed run goes on from.
    """
    if parallel.rank() > 0:
        yield lambda now, latest: None
        return
    progress = Progress(config.env_steps, clock, start or 0, title=run_dir.name)
    keep_alarms_until(run_dir, start or 0)
    record_session(run_dir, start or 0)
    with MetricsWriter(run_dir, start, logger, to_dict(config)) as metrics, progress:
        health = health_of(run_dir)

        def report(now: int, latest: dict[str, float]) -> None:
            progress.update(now, latest)
            for alarm in health.look(latest):
                progress.console.print(f"[yellow]warning:[/yellow] step {now:,}: {alarm}", highlight=False)
                record_alarm(run_dir, now, alarm)
            metrics.write(now, {**latest, "charts/SPS": progress.steps_per_second()})

        yield report
