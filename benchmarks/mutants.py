"""What the tests notice: the code with one small change after the other, and whether a test fails.

    pip install cosmic-ray          in any environment whose programs are on the PATH
    python -m benchmarks.mutants --sample 20

Each part of the code has the tests that hold it. A sample of what cosmic-ray can change there is tried in a copy of the
repository (tracked files as they are), since it changes files in place; those that no test notices are listed.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 300  # seconds of a change that makes the tests hang


@dataclass(frozen=True)
class Part:
    """Files, the tests that hold them, and whether these run as Python: compiled code is compiled anew for every change, a minute each."""

    files: tuple[str, ...]
    tests: str
    interpreted: bool = False


PARTS = {
    "engine": Part(
        ("engine/goods.py", "engine/ground.py", "engine/movement.py", "engine/queues.py", "engine/lichen.py", "engine/opening.py"),
        "tests/engine/test_rules.py",
        interpreted=True,
    ),
    "maps": Part(("engine/maps.py",), "tests/engine/test_maps.py"),
    "masks": Part(("wrappers/masks.py",), "tests/wrappers/test_masks.py"),
    "rewards": Part(("wrappers/rewards.py",), "tests/wrappers/test_vec_env.py"),
    "ppo": Part(
        ("training/ppo/loss.py", "training/ppo/step_size.py", "training/ppo/guidance.py"),
        "tests/training/test_loss.py tests/training/test_advantages.py tests/training/test_imitate.py tests/training/test_long_runs.py",
    ),
    "learner": Part(("training/ppo/learner.py",), "tests/training/test_training.py tests/training/test_proof.py"),
    "match": Part(("arena/process.py", "arena/match.py"), "tests/arena/test_match.py tests/arena/test_hostile.py"),
    "guard": Part(("arena/guard.py",), "tests/arena/test_guard.py tests/arena/test_hostile.py"),
    "players": Part(
        ("arena/players.py", "arena/replay.py"), "tests/submission/test_package.py tests/arena/test_replay_page.py -k 'not plays'"
    ),
    "rating": Part(("arena/rating/standings.py", "arena/rating/results.py", "arena/rating/tournament.py"), "tests/arena/test_rate.py"),
}
UNREAD = "ReplaceBinaryOperator_BitOr"  # nearly all of annotations, which nothing reads


@dataclass(frozen=True)
class Options:
    parts: tuple[str, ...] = tuple(PARTS)
    """Of which parts."""
    sample: int = 20
    """Changes tried of each part."""
    seed: int = 0


def try_part(part: Part, sample: int, seed: int) -> tuple[int, list[str]]:
    """(changes that were tried, those that no test noticed)."""
    with tempfile.TemporaryDirectory(prefix="lux-mutants-") as name:
        folder = Path(name)
        for file in subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
        command = f"{sys.executable} -m pytest -q -x -p no:cacheprovider {part.tests}"
        config = (
            f"[cosmic-ray]\nmodule-path = {json.dumps(part.files)}\ntimeout = {TIMEOUT}\nexcluded-modules = []\n"
            f'test-command = {json.dumps(command)}\n[cosmic-ray.distributor]\nname = "local"\n'
        )
        (folder / "mutants.toml").write_text(config)
        environment = {**os.environ, "LUXS2_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        if part.interpreted:
            environment["NUMBA_DISABLE_JIT"] = "1"
        subprocess.run(shlex.split(command), cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)  # unchanged they pass
        for verb in ("init", "exec"):
            subprocess.run(["cosmic-ray", verb, "mutants.toml", "session.sqlite"], cwd=folder, env=environment, check=True)
            if verb == "init":
                _thin_out(folder / "session.sqlite", sample, seed)
        with closing(sqlite3.connect(folder / "session.sqlite")) as session:
            query = "select module_path, start_pos_row, operator_name, test_outcome from work_results natural join mutation_specs"
            results = session.execute(query).fetchall()
    lives = [f"{path}:{row} {operator.removeprefix('core/')}" for path, row, operator, outcome in results if outcome != "KILLED"]
    return len(results), lives


def _thin_out(file: Path, sample: int, seed: int) -> None:
    """Leave a sample of the changes, those of annotations not among it."""
    with closing(sqlite3.connect(file)) as session:
        found = session.execute("select job_id, operator_name, module_path, start_pos_row, start_pos_col from mutation_specs").fetchall()
        read = sorted((job for job in found if not job[1].removeprefix("core/").startswith(UNREAD)), key=lambda job: job[1:])
        kept = {job[0] for job in random.Random(seed).sample(read, min(sample, len(read)))}
        for table in ("mutation_specs", "work_items"):
            session.executemany(f"delete from {table} where job_id = ?", [(job[0],) for job in found if job[0] not in kept])
        session.commit()


def main(options: Options) -> None:
    """Print the score of each part and what lives."""
    if shutil.which("cosmic-ray") is None:
        sys.exit("There is no program cosmic-ray; install it with pip, in an environment of its own if you like, and put that on the PATH.")
    tried, living = 0, 0
    for name in options.parts:
        count, lives = try_part(PARTS[name], options.sample, options.seed)
        tried, living = tried + count, living + len(lives)
        print(f"{name}: {count - len(lives)} of {count} noticed", *lives, sep="\n  ", flush=True)
    print(f"{tried - living} of {tried} noticed ({(tried - living) / max(tried, 1):.0%})")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
