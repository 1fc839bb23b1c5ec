"""One side of a match: a separate process that gets a JSON line a turn and must answer with one, in time.

Everything a bot can do wrong ends in `Failure`, a sentence for the result; nothing it does can block the caller:
pipes are non-blocking, waited on together with a deadline a side, and `arena.guard` ends whatever it started, also
when this process is killed. Where the system permits it, guard and bot are alone in a PID namespace, in which
nothing can signal the guard and with which everything ends. Elsewhere a bot that kills its guard is swept up by the mark in its
environment, which a program that wants to can take off.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

GUARD = Path(__file__).resolve().with_name("guard.py")
LINE_LIMIT = 1 << 20  # bytes of one answer
LOG_LIMIT = 4 << 20  # bytes of stderr kept; the rest is read and dropped
CHUNK = 1 << 16
EXIT_GRACE = 2.0  # seconds between the end of stdout and the exit code
GUARD_GRACE = 10.0  # seconds for the guard to end a bot
SAID_LIMIT = 200  # characters of what a bot said that are shown
SENTENCE_LIMIT = 400  # characters of a verdict
NAMESPACE = True  # a PID namespace for each bot, where the system permits it
MARK = "LUXS2_BOT"  # variable that tells the processes of one bot from all others
# what a bot is told of this process's environment, which may hold keys
VARIABLES = (
    *("HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER", "XDG_CACHE_HOME"),
    *("CONDA_PREFIX", "DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"),
    *("CUDA_VISIBLE_DEVICES", "MKL_NUM_THREADS", "NUMBA_DISABLE_JIT", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    "LUXS2_CACHE",
)
EXIT_CHECK = 0.25  # seconds between looks for bots that ended while a child of theirs keeps the pipe open


def printable(text: str, limit: int = SAID_LIMIT) -> str:
    """What another program said as one line that harms no terminal and can be encoded, cut to `limit` characters."""
    cut = text[:limit]
    return "".join(character if character.isprintable() else " " for character in cut) + ("..." if len(text) > limit else "")


class Failure(Exception):
    """Why a side loses, as the end of the sentence "left ..."; made `printable`, since most of them quote the side."""

    def __init__(self, sentence: str = "") -> None:
        super().__init__(printable(sentence, SENTENCE_LIMIT))


class Ended(Failure):
    """The bot's stdout ended; how is found out when nobody else's clock runs."""


class BotProcess:
    """A running bot. `answer_time` is the list of seconds taken a turn, `overage` the seconds left of the pool.

    `environment` is added to the `VARIABLES` of this process's own; `memory_limit` is the most MiB that the bot and what it
    started may have in memory. `peak_memory` is the bot's, in MiB, once it has ended.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        log_file: Path | None,
        time_per_turn: float,
        overage: float,
        environment: dict[str, str] | None = None,
        memory_limit: float | None = None,
    ) -> None:
        self.time_per_turn = time_per_turn
        self.memory_limit = memory_limit
        self.peak_memory = 0.0
        self.overage = overage
        self.answer_time: list[float] = []
        self._started = 0.0
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._log: IO[bytes] | None = None
        self._log_left = LOG_LIMIT
        self._stderr_tail: deque[bytes] = deque([b""], maxlen=20)
        self._stderr_open = True
        if log_file is not None:
            self._log = open(log_file, "wb")
        control, self._control = os.pipe()
        self._status, status = socket.socketpair()  # unlike a pipe, it cannot be opened through /proc
        self._status.setblocking(False)  # a process forked from this one may hold the other end open
        self._report: Report | None = None
        self._mark = f"{MARK}={secrets.token_hex(16)}"
        limit = 0 if memory_limit is None else int(memory_limit * (1 << 20))
        told = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        guard = [sys.executable, "-I", "-S", str(GUARD), str(control), str(status.fileno()), str(limit), str(int(NAMESPACE))]
        try:
            self._process = subprocess.Popen(
                [*guard, *command],
                cwd=folder,
                env={**told, **(environment or {}), MARK: self._mark.partition("=")[2]},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                pass_fds=(control, status.fileno()),
            )
        except OSError as error:
            os.close(self._control)
            self._status.close()
            if self._log is not None:
                self._log.close()
            raise Failure(f"could not be started: {error.strerror or error}") from error
        finally:
            os.close(control)
            status.close()
        self.pid = self._process.pid
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self.stdin, self.stdout, self.stderr = self._process.stdin, self._process.stdout, self._process.stderr
        for pipe in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(pipe.fileno(), False)

    # one turn, driven by `exchange`

    def begin(self, message: bytes) -> None:
        """Start the clock of a turn; `message` is one JSON line with its newline."""
        if self._received:
            raise Failure(f"printed junk: {_shown(self._received)}")
        self._unsent = memoryview(message)
        self._started = time.perf_counter()

    @property
    def deadline(self) -> float:
        """Until when this turn's answer counts, in `time.perf_counter` seconds."""
        return self._started + self.time_per_turn + self.overage

    def send(self) -> bool:
        """Write what the pipe takes now; True when the whole message is out, or will never be."""
        try:
            written = os.write(self.stdin.fileno(), self._unsent[:CHUNK])
        except BlockingIOError:
            return False
        except OSError:  # the bot closed its stdin: it may still answer or end, which decides
            written = len(self._unsent)
        self._unsent = self._unsent[written:]
        return len(self._unsent) == 0

    def receive(self) -> bytes | None:
        """Read what is there; the answer when its line is complete. Raises `Failure`."""
        try:
            data = os.read(self.stdout.fileno(), CHUNK)
        except BlockingIOError:
            return None
        if not data:
            raise Ended
        self._received += data
        end = self._received.find(b"\n")
        if end < 0 and len(self._received) <= LINE_LIMIT:
            return None
        if end < 0 or end > LINE_LIMIT:
            raise Failure(f"printed a line longer than {LINE_LIMIT} bytes")
        line, rest = bytes(self._received[:end]), self._received[end + 1 :]
        if rest:
            raise Failure(f"printed more than one line: {_shown(rest)}")
        self._received.clear()
        self._stop_clock()
        return line

    def check_alive(self) -> bytes | None:
        """The answer that an ended bot left in the pipe, if any; nothing for a running one. Raises `Failure` if it ended without."""
        if self._process.poll() is None:
            return None
        unread = -1
        while unread != len(self._received):
            unread = len(self._received)
            answer = self.receive()
            if answer is not None:
                return answer
        raise Ended

    def time_out(self) -> Failure:
        """The verdict when the deadline has passed."""
        self.answer_time.append(time.perf_counter() - self._started)
        self.overage = 0.0
        return Failure(f"timed out after {self.answer_time[-1]:.1f} seconds ({self.time_per_turn:g} a turn, and no overage left)")

    def drain_stderr(self) -> None:
        """Move what is there of stderr into the log file, up to the cap."""
        for _ in range(16):  # a flood must not keep the caller here
            try:
                data = os.read(self.stderr.fileno(), CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._stderr_open = False
                return
            if self._log is not None:
                self._log.write(data[: self._log_left])
            self._log_left = max(self._log_left - len(data), 0)
            lines = data[-4096:].split(b"\n")
            self._stderr_tail[-1] = (self._stderr_tail[-1] + lines[0])[-4096:]
            self._stderr_tail.extend(lines[1:])

    @property
    def stderr_open(self) -> bool:
        return self._stderr_open

    def close(self) -> None:
        """Kill the bot and whatever it started, and let go of the pipes. Safe to call twice."""
        if self._control >= 0:
            os.close(self._control)
            self._control = -1
            self._signal_group(signal.SIGTERM)  # a process forked from this one may hold the other end of the pipe open
            try:
                self._process.wait(GUARD_GRACE)
            except subprocess.TimeoutExpired:  # the bot stopped its guard
                self._signal_group(signal.SIGKILL)
            self._process.wait()
            self._signal_group(signal.SIGKILL)  # what is left if the guard itself was killed
            if self._process.returncode != 0:
                self._sweep()
            self._read_report()
            self._status.close()
        if self._stderr_open:
            self.drain_stderr()
            self._stderr_open = False
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # nobody of the group is left (macOS says "not permitted" of a group of zombies)

    def _sweep(self) -> None:
        """Kill what a bot left behind that ended its guard."""
        end = time.monotonic() + GUARD_GRACE
        while (left := list(_marked(self._mark))) and time.monotonic() < end:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)

    def _read_report(self) -> Report:
        """What the guard said at its end; it must have ended."""
        if self._report is None:
            try:
                said = self._status.recv(CHUNK)
            except OSError:
                said = b""
            # without a word the bot killed its guard
            self._report = read_report(said) or Report(code=self._process.returncode)
            self.peak_memory = self._report.peak / (1 << 20)
        return self._report

    def _stop_clock(self) -> None:
        used = time.perf_counter() - self._started
        self.answer_time.append(used)
        self.overage -= max(used - self.time_per_turn, 0.0)

    def how_it_ended(self) -> str:
        """Why a bot loses whose stdout ended; waits a moment for its exit code."""
        end = time.perf_counter() + EXIT_GRACE
        while self._process.poll() is None and time.perf_counter() < end:
            self.drain_stderr()
            time.sleep(0.01)
        self.drain_stderr()
        if self._process.returncode is None:
            return "closed its stdout"
        report = self._read_report()
        if report.error is not None:
            return f"could not be started: {report.error}"
        if report.over is not None:
            return f"took {report.over / (1 << 20):.0f} MiB of memory ({self.memory_limit:g} MiB are allowed)"
        code = report.code
        last = next((line for line in reversed(self._stderr_tail) if line.strip()), b"")
        place = _place(self._stderr_tail)
        said = f": {_shown(last)}{place}" if last else ""
        if code is None:
            return f"was killed with its whole process group{said}"
        if code == 0:
            return f"ended before the match was over (exit code 0){said}"
        if code < 0:
            return f"was killed by signal {-code} ({signal_name(-code)}){said}"
        return f"crashed (exit code {code}){said}"


@dataclass(frozen=True)
class Report:
    """A guard's last words: exit code of the bot (None if the guard ended it), its peak of memory, and why it was ended."""

    code: int | None = None
    peak: int = 0  # bytes
    over: int | None = None  # bytes, if it was ended for its memory
    error: str | None = None  # why it could not be started


def read_report(said: bytes) -> Report | None:
    """The report in a guard's line, or None for anything else."""
    try:
        report = Report(**json.loads(said.split(b"\n")[0]))
    except (ValueError, TypeError, RecursionError):  # no JSON, no object, other names
        return None
    kinds = {"code": (int, type(None)), "peak": (int,), "over": (int, type(None)), "error": (str, type(None))}
    return report if all(type(getattr(report, name)) in kind for name, kind in kinds.items()) else None


def signal_name(number: int) -> str:
    """Of any signal; most real-time signals have none but their distance from the first."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if hasattr(signal, "SIGRTMIN") and number > signal.SIGRTMIN else "of no name"


def _marked(mark: str) -> Iterator[int]:
    """Processes that were started with a variable in their environment, zombies left out; none where there is no /proc."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
        except OSError:  # it has ended, or is somebody else's
            continue


def _place(lines: Sequence[bytes]) -> str:
    """Where a Python program failed, for the end of a sentence: the last file and line of its traceback."""
    found = [match for line in lines if (match := re.match(rb'\s+File "([^"]+)", line (\d+)', line))]
    return f" ({Path(os.fsdecode(found[-1][1])).name}, line {int(found[-1][2])})" if found else ""


def _shown(data: bytes | bytearray) -> str:
    """The beginning of some output as one printable line."""
    return printable(bytes(data[: 4 * SAID_LIMIT]).decode("utf-8", "replace").strip())


def exchange(bots: Sequence[BotProcess], messages: Sequence[bytes]) -> list[bytes | Failure]:
    """One turn of all bots at the same time: send each its message, wait for the answers or the failures."""
    results: list[bytes | Failure | None] = [None] * len(bots)
    with selectors.DefaultSelector() as selector:

        def finish(index: int, result: bytes | Failure) -> None:
            results[index] = result
            for pipe in (bots[index].stdin, bots[index].stdout):
                if pipe.fileno() in selector.get_map():
                    selector.unregister(pipe)

        def look(index: int, read: Callable[[], bytes | None]) -> None:
            try:
                answer = read()
            except Failure as failure:
                finish(index, failure)
            else:
                if answer is not None:
                    finish(index, answer)

        for index, (bot, message) in enumerate(zip(bots, messages, strict=True)):
            try:
                bot.begin(message)
            except Failure as failure:
                results[index] = failure
                continue
            selector.register(bot.stdin, selectors.EVENT_WRITE, (index, "stdin"))
            selector.register(bot.stdout, selectors.EVENT_READ, (index, "stdout"))
            if bot.stderr_open:
                selector.register(bot.stderr, selectors.EVENT_READ, (index, "stderr"))
        while any(result is None for result in results):
            waiting = [index for index, result in enumerate(results) if result is None]
            wait = min(bots[index].deadline for index in waiting) - time.perf_counter()
            events = selector.select(min(max(wait, 0.0), EXIT_CHECK))
            for key, _ in events:
                index, pipe = key.data
                bot = bots[index]
                if pipe == "stderr":
                    bot.drain_stderr()
                    if not bot.stderr_open:
                        selector.unregister(bot.stderr)
                elif results[index] is not None:
                    continue  # decided by an earlier event of this round
                elif pipe == "stdin":
                    if bot.send():
                        selector.unregister(bot.stdin)
                else:
                    look(index, bot.receive)
            for index in waiting:
                if results[index] is None and not events:
                    look(index, bots[index].check_alive)
                if results[index] is None and time.perf_counter() >= bots[index].deadline:
                    finish(index, bots[index].time_out())
    final = [Failure(bot.how_it_ended()) if isinstance(result, Ended) else result for bot, result in zip(bots, results, strict=True)]
    return [result for result in final if result is not None]
