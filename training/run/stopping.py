"""Why a training ends before its time: it cannot go on, or it was asked to stop, and saves before it does."""

from __future__ import annotations

import signal
from types import FrameType


class TrainingError(Exception):
    """Training cannot go on; the message says why and what was saved."""


class Stopped(Exception):
    """Training was asked to stop, and is saved."""


class StopRequest:
    """Ctrl-C or a polite kill of any rank asks for a stop after the current iteration; a second one stops at once."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> StopRequest:
        self._old = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if number == signal.SIGINT and callable(before := self._old[signal.SIGINT]):
                before(number, frame)
            raise KeyboardInterrupt
        self.requested = True
