"""What a step of a task returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """An environment is over when it is done (nothing follows) or truncated (time ran out; its last state has a value)."""

    reward: np.ndarray  # [E, N] float32
    done: np.ndarray  # [E] bool
    truncated: np.ndarray  # [E] bool, never where done
