"""How a run was started, each time: command, machine and versions, a line of `sessions.jsonl` in its folder."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from training.run.runs import revision

FILE = "sessions.jsonl"
VERSIONS = ("torch", "numpy", "numba", "luxai_s2")


def record_session(run_dir: Path, step: int = 0) -> None:
    """Add a line about this process, which takes the run on from a step."""
    versions = {name: version for name in VERSIONS if (version := installed(name))}
    session = {
        "step": step,
        "time": round(time.time(), 3),
        "command": command(),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **versions},
        "code": revision(),
    }
    with open(run_dir / FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(session) + "\n")


def read_sessions(run_dir: Path) -> list[dict[str, Any]]:
    """The run's sessions, the first one first; none for runs from before they were kept."""
    path = run_dir / FILE
    if not path.exists():
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def command() -> str:
    """The command line of this process, the interpreter by its name alone."""
    program, *rest = sys.orig_argv or [sys.executable]
    return shlex.join([Path(program).name, *rest])


def machine() -> str:
    """System, processor, cores that may be used, memory, GPUs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [f"{platform.system()} {platform.release()}", processor(), f"{cores} cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB")
    if torch.cuda.is_available():
        parts += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(filter(None, parts))


def processor() -> str:
    """The processor's name where the system tells it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def installed(name: str) -> str | None:
    """The version of a distribution, None if there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
