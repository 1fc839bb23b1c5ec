"""Temporary folders that programs of other people write to; their removal never costs the result."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path


class Scratch:
    """A temporary folder at `path`, removed by `close` or at the end of a `with`, however deep what is in it; raises nothing then."""

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))

    def close(self) -> None:
        """Remove it, as far as that is possible. Safe to call twice."""
        try:
            shutil.rmtree(self.path, ignore_errors=True)
        except RecursionError:  # Python before 3.13 goes down by calling itself
            subprocess.run(["rm", "-rf", "--", str(self.path)], stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()
