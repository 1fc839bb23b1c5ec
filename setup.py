"""What pyproject.toml cannot say: the requirements are those of requirements.txt, the one list."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent


def read_requirements() -> tuple[list[str], list[str]]:
    """Those to use this, and those to develop it, which come after the line `# To develop`."""
    parts: tuple[list[str], list[str]] = ([], [])
    part = parts[0]
    for line in (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# To develop"):
            part = parts[1]
        requirement = line.partition("#")[0].strip()
        if requirement.startswith("./"):  # a distribution of ours, which a package names by where it lies
            folder = HERE / requirement
            requirement = f"{folder.name} @ {folder.as_uri()}"
        if requirement:
            part.append(requirement)
    return parts


to_use, to_develop = read_requirements()
setup(install_requires=to_use, extras_require={"dev": to_develop, "wandb": ["wandb>=0.18,<1"]})
