"""Sets of runs that are resumed run by run: each is one small JSON file, written when the run is over.

A run whose file exists is not made again, an interrupted one starts anew; so the command that began a set goes on with it.
What a run is, is for the caller to say: here are only the order, the processes and the files.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import multiprocessing
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, TypeVar

from engine.config import check_range
from submission.files import write_whole
from training.run.progress import duration
from training.run.stopping import TrainingError

ROOMS = ("engine", "wrappers", "agent", "submission", "arena", "training", "reproduce")  # whose code decides the results of a run
Run = dict[str, Any]  # plain JSON values


class Job(Protocol):
    """One run to make and where it is stored."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path: ...


J = TypeVar("J", bound=Job)
Make = Callable[[J, bool], Run]  # makes the run of a job; the bool: whether somebody watches. A function of a module, for processes.


def check_options(options: Any, lists: Sequence[str]) -> None:
    """Raises `ValueError` if one of the options' `lists` is empty or names something twice, or `jobs` or `eval_every` is below 1."""
    for name in lists:
        values = getattr(options, name)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} is {' '.join(map(str, values))!r}; at least one is needed, each once.")
    check_range(options, 1, None, *(name for name in ("jobs", "eval_every") if hasattr(options, name)))


def run_all(
    jobs: Sequence[J],
    processes: int,
    make: Make[J],
    stored: Callable[[J], bool],
    line: Callable[[Run], str],
    after_each: Callable[[], object],
) -> None:
    """Make the runs that are not stored yet and tell of each in a line. A run that fails does not stop the others.

    Raises `TrainingError` at the end if runs failed, and what `stored` raises before anything is run.
    """
    todo = [job for job in jobs if not stored(job)]
    print(f"{len(jobs)} runs: {len(jobs) - len(todo)} stored, {len(todo)} to make.", flush=True)
    failed: list[str] = []
    began = time.perf_counter()
    for done, (job, outcome) in enumerate(outcomes(todo, processes, make), 1):
        left = duration((time.perf_counter() - began) / done * (len(todo) - done))
        if isinstance(outcome, TrainingError):
            failed.append(f"{job.name}: {outcome}")
            print(f"[{done}/{len(todo)}, {left} left] {job.name} failed: {outcome}", flush=True)
        else:
            print(f"[{done}/{len(todo)}, {left} left] {line(outcome)}", flush=True)
            after_each()
    if failed:
        raise TrainingError(f"{len(failed)} of {len(todo)} runs failed. {' '.join(failed)}")


def outcomes(jobs: Sequence[J], processes: int, make: Make[J]) -> Iterator[tuple[J, Run | TrainingError]]:
    """Make runs, here one after the other or several in processes of their own, and yield each as it is over."""
    if processes == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, attempt(job, make, True)
        return
    # spawned, since a fork copies the locks of threads that torch and numba have started
    pool = ProcessPoolExecutor(min(processes, len(jobs)), multiprocessing.get_context("spawn"))
    try:
        futures = {pool.submit(attempt, job, make, False): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise TrainingError("A process that trained was killed; the same command goes on with what is missing.") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def attempt(job: J, make: Make[J], show: bool) -> Run | TrainingError:
    """Make and store one run; an error of the training itself is returned, so that other runs go on."""
    try:
        run = make(job, show)
    except TrainingError as error:
        return error
    write_whole(job.path, json.dumps(run) + "\n")
    return run


def read_run(path: Path, curve: Sequence[str]) -> Run:
    """A stored run, which has a `curve` of at least these columns. Raises `ValueError` if the file is none."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no stored run ({error}); delete it.") from error
    if not isinstance(run, dict) or set(curve) - set(run.get("curve", ())):
        raise ValueError(f"{path} is no stored run: it has no curve of {', '.join(curve)}; delete it.")
    return run


@functools.cache  # what was imported is the revision of the start, whatever is checked out later
def revision() -> str:
    """The git revision of this code; `changed` if what decides a run's results differs from it, `unknown` without git.
    Installed it is the version: a repository around an installation is somebody else's."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"version {importlib.metadata.version('luxs2')}"
        return "unknown"

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, text=True).stdout.strip()

    try:
        head = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *ROOMS)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} (changed)" if changed else head
