"""Hands a package to Kaggle's own client (`kaggle competitions submit`), after checking what can be checked beforehand.

Credentials are the client's business: here it is only looked whether there are any, and nothing of them is read.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COMPETITION = "lux-ai-season-2"
ACCEPTED = "successfully submitted"  # the client may exit with 0 when the competition refuses, so its words decide
TIME_LIMIT = 1800.0  # seconds
NO_CREDENTIALS = (
    "There are no Kaggle credentials: run `kaggle auth login`, or make a token on https://www.kaggle.com/settings/api and put it "
    "into the environment variable KAGGLE_API_TOKEN or the file ~/.kaggle/access_token (a kaggle.json with username and key is fine too)."
)


@dataclass(frozen=True)
class Upload:
    """What is sent: a file with its size and SHA-256, a message, to a competition (its slug)."""

    file: Path
    size_bytes: int
    sha256: str
    message: str
    competition: str

    @property
    def arguments(self) -> list[str]:
        """Of the client."""
        return ["competitions", "submit", self.competition, "-f", str(self.file), "-m", self.message]

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"file         {self.file} ({self.size_bytes:,} bytes)",
            f"SHA-256      {self.sha256}",
            f"message      {self.message}",
            f"competition  {self.competition}",
            f"command      kaggle {shlex.join(self.arguments)}",
        ]


def plan(file: Path | str, message: str | None = None, competition: str = COMPETITION) -> Upload:
    """What sending this file means; the message is by default the file's name and the beginning of its digest.

    Raises `ValueError` if the file cannot be read, or if message or competition are nothing that the client takes.
    """
    file = Path(file)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}.") from error
    if not competition or competition.startswith("-") or not competition.replace("-", "").isalnum():
        raise ValueError(f"The competition is {competition!r}; it must be a slug such as {COMPETITION}.")
    digest = hashlib.sha256(data).hexdigest()
    message = message or f"{file.name} {digest[:12]}"
    if message.startswith("-"):
        raise ValueError(f"The message {message!r} begins with a dash, which the client would read as an option.")
    return Upload(file, len(data), digest, message, competition)


def credentials(environment: Mapping[str, str] | None = None) -> str | None:
    """Where the client will find credentials (the name of a variable or a file), or None."""
    environment = os.environ if environment is None else environment
    if environment.get("KAGGLE_API_TOKEN"):
        return "KAGGLE_API_TOKEN"
    if environment.get("KAGGLE_USERNAME") and environment.get("KAGGLE_KEY"):
        return "KAGGLE_USERNAME and KAGGLE_KEY"
    home = Path(environment.get("HOME") or Path.home())
    own = home / ".kaggle"
    settings = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"
    configured = Path(environment["KAGGLE_CONFIG_DIR"]) if environment.get("KAGGLE_CONFIG_DIR") else own if own.is_dir() else settings
    files = [own / "access_token", own / "access_token.txt", own / "credentials.json", configured / "kaggle.json"]
    return next((str(file) for file in files if file.is_file() and file.stat().st_size > 0), None)


def client() -> str:
    """The program `kaggle`: of this virtual environment, or else of the path. Raises `ValueError` if there is none."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("kaggle", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None:
        raise ValueError("The Kaggle client is not installed; `pip install kaggle` installs it.")
    return found


def send(upload: Upload) -> str:
    """Send it, and return what the client said. Raises `ValueError` without credentials, and if it was not accepted."""
    program = client()
    if credentials() is None:
        raise ValueError(NO_CREDENTIALS)
    try:
        done = subprocess.run(
            [program, *upload.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"The Kaggle client was not done after {TIME_LIMIT / 60:.0f} minutes, and was ended.") from error
    said = " ".join(done.stdout.replace("\r", "\n").split("\n")[-8:]).strip()
    if done.returncode != 0 or ACCEPTED not in done.stdout.lower():
        raise ValueError(f"Kaggle did not take {upload.file} (exit code {done.returncode}): {said or 'the client said nothing'}")
    return said
