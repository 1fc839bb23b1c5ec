"""Kaggle's own judge in a virtual environment of its own, made on first use: `python -m tests.kaggle_environment` prints its Python.

Its full requirements conflict with ours (an older gymnasium) and are large, so only what this game needs is installed. torch
is not installed again: `play` lends it the one that is here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from arena.verify import link_libraries
from engine.jit import cache_root

VERSION = "1.33.2"
NEEDS = ("numpy", "scipy", "jsonschema", "requests", "gymnasium", "pettingzoo", "termcolor")

# paths of the two agents, the configuration, and the libraries on loan come as JSON; the verdict goes out as JSON
DRIVER = """
import json, sys
task = json.loads(sys.argv[1])
sys.path.append(task["libraries"])
from kaggle_environments import make
env = make("lux_ai_s2", configuration=task["configuration"])
env.run(task["agents"])
logs = [[log[side] for log in env.logs if len(log) > side and log[side]] for side in range(2)]
print("VERDICT " + json.dumps({
    "statuses": [side.status for side in env.steps[-1]],
    "rewards": [side.reward for side in env.steps[-1]],
    "real_steps": json.loads(env.steps[-1][0].observation.obs)["real_env_steps"],
    "stderr": ["".join(log.get("stderr", "") for log in side) for side in logs],
    "slowest": [max((log.get("duration", 0.0) for log in side), default=0.0) for side in logs],
}))
"""


def python() -> Path:
    """The Python of the environment. Raises `RuntimeError` if it cannot be made (no package index, say)."""
    folder = cache_root() / f"kaggle-environments-{VERSION}"
    path, ready = folder / "bin" / "python", folder / "ready"
    if ready.is_file():
        return path
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    for what in (["--no-deps", f"kaggle-environments=={VERSION}"], list(NEEDS)):
        done = subprocess.run([str(path), "-m", "pip", "install", *what], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"pip could not install {' '.join(what)}: {done.stderr.strip().splitlines()[-1]}")
    ready.touch()
    return path


def play(agents: list[Path], folder: Path, **configuration: Any) -> dict[str, Any]:
    """An episode between two main.py. Returns statuses, rewards, turns after the opening, stderr and the longest turns by side.

    `folder` is for temporary files.
    """
    libraries = folder / "libraries"
    if not libraries.exists():
        link_libraries(libraries, ["torch"])
    task = {
        "agents": [str(agent) for agent in agents],
        "libraries": str(libraries),
        "configuration": {"seed": 1, "episodeSteps": 1040, **configuration},
    }
    command = [str(python()), "-I", "-c", DRIVER, json.dumps(task)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    verdicts = [line for line in done.stdout.splitlines() if line.startswith("VERDICT ")]
    assert done.returncode == 0 and len(verdicts) == 1, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(verdicts[0].removeprefix("VERDICT "))


if __name__ == "__main__":
    sys.stdout.write(f"{python()}\n")
