"""What pyproject.toml cannot say: the requirements are those of requirements.txt, the one list.

A distribution of ours among them is named by the folder that it lies in, so that `pip install .` finds it. With LUXS2_WHEELS set (`make
wheels`) it is named by its version: then both wheels install wherever they are taken together.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent


def ours(folder: Path) -> str:
    """The requirement of a distribution of ours, by where it lies or by its version."""
    if not os.environ.get("LUXS2_WHEELS"):
        return f"{folder.name} @ {folder.as_uri()}"
    (version,) = re.findall(r'^version = "(.*)"', (folder / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return f"{folder.name}=={version}"


def read_requirements() -> tuple[list[str], list[str]]:
    """Those to use this, and those to develop it, which come after the line `# To develop`."""
    parts: tuple[list[str], list[str]] = ([], [])
    part = parts[0]
    for line in (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# To develop"):
            part = parts[1]
        requirement = line.partition("#")[0].strip()
        if requirement.startswith("./"):
            requirement = ours(HERE / requirement)
        if requirement:
            part.append(requirement)
    return parts


to_use, to_develop = read_requirements()
setup(install_requires=to_use, extras_require={"dev": to_develop, "wandb": ["wandb>=0.18,<1"]})
