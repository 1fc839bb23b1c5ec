"""Runs a bot and answers for everything that it starts: nothing of it outlives this process, and this process not its runner.

    python -I -S guard.py CONTROL STATUS MEMORY NAMESPACE COMMAND...

stdin, stdout and stderr become the bot's. The match runner holds the other end of the pipe CONTROL: whether it closes it or
is killed, the pipe ends, and with it the bot and all its descendants, those that left for a session of their own included
(on Linux, where orphans are handed to this process). MEMORY is the most bytes that they may have in memory together, 0 for
any. With NAMESPACE 1 they are put into a PID namespace if the system permits it. At last one JSON object is written to the
socket STATUS: `code` (exit code of the bot, negative for a signal, null if it was ended here), `peak` (bytes, the bot's),
`over` (bytes, if it was ended for its memory), or `error` (it cannot be started).

On Linux the bot cannot reach into this process through /proc, to write its own verdict, nor, as this is the first process of
its PID namespace, end or stop it.
"""

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable

LINUX = sys.platform == "linux"
PAGE = resource.getpagesize()
MEMORY_CHECK = 0.1  # seconds
END_LIMIT = 5.0  # seconds for killing what a bot started
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_NOSUID_NODEV_NOEXEC, MS_REC_PRIVATE = 2 | 4 | 8, 0x4000 | 1 << 18
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 1, 4, 24, 36
CAP_SYS_PTRACE, CAP_SYS_ADMIN = 19, 21  # what root needs to reach into another process, or to unmount /proc


def call(name: str, *arguments: object) -> None:
    """Linux's call of this name; raises `OSError`."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*(ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments)) != 0:
        raise OSError(ctypes.get_errno(), name)


def prctl(option: int, value: int) -> None:
    """Linux's call of this name; raises `OSError`."""
    call("prctl", option, value, 0, 0, 0)


def enter_namespace() -> None:
    """What this process starts from now on gets a PID namespace. Raises `OSError` where that is not permitted."""
    user, group = os.geteuid(), os.getegid()
    call("unshare", CLONE_NEWNS | CLONE_NEWPID | (CLONE_NEWUSER if user != 0 else 0))
    if user != 0:  # everybody stays who they are
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def mount_proc() -> None:
    """In a new PID namespace: a /proc that shows it and nothing else. Raises `OSError` where that is not permitted."""
    call("mount", b"none", b"/", None, MS_REC_PRIVATE, None)
    call("mount", b"proc", b"/proc", b"proc", MS_NOSUID_NODEV_NOEXEC, None)


def succeeds(*steps: Callable[[], None]) -> bool:
    """Try some steps, each in a child of the process of the one before; whether none of them raises `OSError`."""
    child = os.fork()
    if child == 0:
        try:
            steps[0]()
            os._exit(0 if len(steps) == 1 or succeeds(*steps[1:]) else 1)
        except OSError:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def isolate(ends: tuple) -> None:
    """Go on in a PID namespace, as its first process; the process before it only waits. Without one where that is not permitted."""
    if not succeeds(enter_namespace, mount_proc):
        return
    enter_namespace()
    child = os.fork()
    if child == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        mount_proc()
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for end in (0, 1, 2, *ends):
        os.dup2(nothing, end)
    os._exit(0 if os.waitpid(child, 0)[1] == 0 else 1)


class Guard:
    """The bot's process and how it ended."""

    def __init__(self, control: int, status: int, memory: int, command: list) -> None:
        self.control, self.status, self.memory = control, status, memory
        self.report: dict = {"code": None, "peak": 0}
        self.wake, write = os.pipe()
        for end in (self.wake, write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        if LINUX:
            prctl(PR_SET_CHILD_SUBREAPER, 1)
            prctl(PR_SET_DUMPABLE, 0)  # its /proc is closed to the bot
        for end in (control, status):
            os.set_inheritable(end, False)
        guard = os.getpid()
        self.bot = os.fork()
        if self.bot == 0:
            self.become(command, guard)
        nothing = os.open(os.devnull, os.O_RDWR)
        for end in range(3):  # the bot alone holds its pipes, so that they end with it
            os.dup2(nothing, end)

    def become(self, command: list, guard: int) -> None:
        """In the child: turn into the bot."""
        try:
            if LINUX:
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.geteuid() == 0:
                    for capability in (CAP_SYS_PTRACE, CAP_SYS_ADMIN):
                        prctl(PR_CAPBSET_DROP, capability)
            if os.getppid() != guard:
                os._exit(1)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and ignored signals are inherited
                signal.signal(number, signal.SIG_DFL)
            os.execvp(command[0], command)
        except OSError as error:
            self.tell({"error": error.strerror or str(error)})
        os._exit(127)

    def tell(self, report: dict) -> None:
        """Write the last words; a runner that was killed does not hear them."""
        try:
            os.write(self.status, json.dumps(report).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            return

    def watch(self) -> None:
        """Wait until the bot ends, takes too much memory, or has to end."""
        while True:
            ready, _, _ = select.select([self.control, self.wake], [], [], MEMORY_CHECK if self.memory else None)
            if self.control in ready:
                return
            if self.wake in ready and signal.SIGTERM in os.read(self.wake, 4096):
                return
            self.reap()
            if self.report["code"] is not None:
                return
            used = self.resident() if self.memory else 0
            if used > self.memory:
                self.report["over"] = used
                return

    def reap(self) -> bool:
        """Take note of who ended; False when there is no child any more."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.bot:
                self.report["code"] = os.waitstatus_to_exitcode(status)
                self.report["peak"] = usage.ru_maxrss * (1024 if LINUX else 1)

    def descendants(self) -> list:
        """Process ids of the bot and of what it started, as far as they can be seen."""
        found, waiting = [], [os.getpid()] if LINUX else []
        while waiting:
            pid = waiting.pop()
            try:
                tasks = os.listdir(f"/proc/{pid}/task")
            except OSError:  # it has just ended
                continue
            for task in tasks:
                try:
                    with open(f"/proc/{pid}/task/{task}/children") as file:
                        children = [int(word) for word in file.read().split()]
                except OSError:
                    continue
                found += children
                waiting += children
        return found

    def resident(self) -> int:
        """Bytes of memory that the bot and its descendants have; what they share counts once where that matters."""
        pids = self.descendants()
        used = sum(resident(pid) for pid in pids)
        return used if used <= self.memory or len(pids) == 1 else sum(proportional(pid) for pid in pids)

    def end(self) -> None:
        """Kill whatever is left; when the last child is reaped there is no descendant any more."""
        ended = self.report["code"]
        limit = time.monotonic() + END_LIMIT
        while self.reap() and time.monotonic() < limit:
            for pid in {self.bot, *self.descendants()} if self.report["code"] is None else self.descendants():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.002)
        self.report["code"] = ended
        self.tell(self.report)
        if not LINUX:
            os.killpg(os.getpgrp(), signal.SIGKILL)  # this process is one of the group


def resident(pid: int) -> int:
    """Bytes that a process has in memory, 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def proportional(pid: int) -> int:
    """The same with each shared page divided among those that share it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except OSError:
        return resident(pid)


if __name__ == "__main__":
    if LINUX and sys.argv[4] == "1":
        isolate((int(sys.argv[1]), int(sys.argv[2])))
    guard = Guard(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[5:])
    guard.watch()
    guard.end()
    os._exit(0)
