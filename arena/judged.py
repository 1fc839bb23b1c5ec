"""Runs a package the way the judge does and measures it; a process of its own, started by `arena.verify`.

    python -I -S judged.py FOLDER LIBRARIES MEASUREMENTS PACKAGE

With `-I -S` nothing but the standard library can be imported; LIBRARIES holds what the judge has besides. As there, the text
of `main.py` is executed, its last callable is the agent, `__file__` does not exist, and the folder leaves the path
afterwards. Beyond that the folder is read-only, and so is the current one; there is no network. It speaks the
stand-alone protocol with the match runner, and appends a JSON line a turn to MEASUREMENTS.
"""

import errno
import json
import os
import sys
import time
from collections.abc import Callable

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime")
LOCAL = ("socket.gethostname",)  # what looks like the network and is not


class Struct(dict):
    """The judge's observations and configurations: keys are attributes too."""

    __getattr__ = dict.__getitem__


class Rules:
    """An audit hook that forbids the network, and changes in some folders; `note` is told of the network's first use."""

    def __init__(self, folders: list, note: Callable[[dict], None]) -> None:
        self.folders = [os.path.realpath(folder) for folder in folders]
        self.note: Callable[[dict], None] | None = note

    def __call__(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & WRITING) if isinstance(flags, int) else bool(set(mode or "") & set("wax+"))
            if writes:
                self.check_path(path)
        elif event in CHANGING:
            self.check_path(arguments[0])
        elif event.startswith("socket.") and event not in LOCAL:
            if self.note is not None:
                note, self.note = self.note, None
                note({"network": event})
            raise PermissionError(errno.EPERM, "The judge has no network")

    def check_path(self, path: object) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        place = os.path.realpath(os.fsdecode(path))
        if any(place == folder or place.startswith(folder + os.sep) for folder in self.folders):
            raise OSError(errno.EROFS, "The judge's folder is read-only", place)


def load(folder: str) -> Callable:
    """The agent of a folder: the last callable of its main.py."""
    path = os.path.join(folder, "main.py")
    with open(path, encoding="utf-8") as file:
        code = compile(file.read(), path, "exec")
    namespace: dict = {}
    sys.path.append(folder)
    exec(code, namespace)
    sys.path.pop()
    return [value for value in namespace.values() if callable(value)][-1]


def main(folder: str, libraries: str, measurements: str, package: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the judge catches what an agent prints
    sys.path.append(libraries)
    with open(measurements, "a") as notes:

        def note(measured: dict) -> None:
            notes.write(json.dumps(measured) + "\n")
            notes.flush()

        sys.addaudithook(Rules([folder, os.getcwd()], note))
        began = time.perf_counter()
        agent = load(folder)
        import_s = time.perf_counter() - began
        entry = sys.modules.get(package + ".submission.entry")
        configuration = Struct(actTimeout=3, episodeSteps=1040, __raw_path__=os.path.join(folder, "main.py"))
        for line in sys.stdin:
            message = json.loads(line)
            configuration.update(message.pop("info"))
            observation = Struct(message, obs=json.dumps(message["obs"]))
            began = time.perf_counter()
            action = agent(observation, configuration)
            turn_s = time.perf_counter() - began
            errors = entry.errors["count"] if entry is not None else 0
            note({"import_s": import_s, "turn_s": turn_s, "errors": errors})
            answers.write(json.dumps(action) + "\n")
            answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
