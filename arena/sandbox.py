"""Other people's agents under bubblewrap, where it is installed: they see their folder, Python and the system, and nothing of the user's.

What is promised inside: no network, nothing to write to but an empty /tmp and the folder for thoughts, no files but those
of `SYSTEM`, of Python and of the agent's own folder (all read-only), no processes but its own, no capabilities.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from arena.process import BotProcess, Failure, exchange

# programs, libraries, and what of /etc they look at
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store")
SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/passwd")
OPTIONS = (
    *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
    *("--cap-drop", "ALL", "--die-with-parent", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--setenv", "HOME", "/tmp"),
    *("--setenv", "TMPDIR", "/tmp"),
)


def wrapped(command: Sequence[str], folder: Path, writable: Iterable[str] = ()) -> list[str]:
    """The command that runs `command` in `folder` inside a sandbox."""
    python = {os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix, Path(sys.executable).parent.parent)}
    shown = [*SYSTEM, *SETTINGS, *sorted({sys.prefix, *python})]
    binds = [word for path in shown for word in ("--ro-bind-try", path, path)]
    binds += [word for path in writable for word in ("--bind", path, path)]
    # after /tmp, which the folder may lie in
    return ["bwrap", *OPTIONS, *binds, "--ro-bind", str(folder), str(folder), "--chdir", str(folder), "--", *command]


@functools.lru_cache(maxsize=1)
def check() -> None:
    """Raises `ValueError` where no sandbox can be made."""
    if shutil.which("bwrap") is None:
        raise ValueError("--sandbox needs bubblewrap (the program bwrap), which is not installed; on Debian: apt-get install bubblewrap.")
    with tempfile.TemporaryDirectory(prefix="lux-sandbox-") as folder:
        bot = BotProcess(wrapped(["cat"], Path(folder)), Path(folder), None, 10.0, 0.0)
        try:
            [answer] = exchange([bot], [b"{}\n"])
        finally:
            bot.close()
    if isinstance(answer, Failure):
        raise ValueError(f"--sandbox cannot be used here: bubblewrap {answer}. Perhaps the system does not permit user namespaces.")
