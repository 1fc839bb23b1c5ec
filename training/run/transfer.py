"""Observations to the learning device: packed into one buffer of page-locked memory, copied once, unpacked there.

A batch is nine arrays; sent one by one, each costs a launch, and from ordinary memory the host waits for each. On a CPU
there is nothing to send: the batch shares the observation's memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agent.batch import Batch

_ALIGN = 16  # bytes; a part of the buffer can be viewed as any type
# as which type a column travels; they are all int64 or float32 at both ends
_COMPACT = {"side": torch.int32, "slot": torch.int16, "kind": torch.int8, "home": torch.int16, "block": torch.int16}


class Transfer:
    """`transfer(batch)` is the batch on the device, for which the host does not wait; the batch may be written over then."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._sent = torch.cuda.Event() if device.type == "cuda" else None

    def __call__(self, batch: Batch) -> Batch:
        return batch if self.device.type == "cpu" else self.packed(batch)

    def packed(self, batch: Batch) -> Batch:
        """The same batch on the device, by one copy."""
        parts = [column.to(_COMPACT.get(name, column.dtype)) for name, column in zip(Batch._fields, batch)]
        starts = [0]
        for part in parts:
            starts.append(-(-(starts[-1] + part.nbytes) // _ALIGN) * _ALIGN)
        if self._sent is not None:
            self._sent.synchronize()  # the buffer may still be on its way; after a step of the games it never is
        if starts[-1] > len(self._buffer):
            self._buffer = torch.empty(starts[-1] * 3 // 2, dtype=torch.uint8, pin_memory=self._sent is not None)
        for start, part in zip(starts, parts):
            _view(self._buffer, start, part).copy_(part)
        there = self._buffer[: starts[-1]].to(self.device, non_blocking=True)
        if self._sent is not None:
            self._sent.record()
        return Batch(*(_view(there, start, part).to(column.dtype) for start, part, column in zip(starts, parts, batch)))


def _view(buffer: Tensor, start: int, part: Tensor) -> Tensor:
    """The bytes of the buffer from `start` on, as a tensor like `part`."""
    return buffer[start : start + part.nbytes].view(part.dtype).view(part.shape)
