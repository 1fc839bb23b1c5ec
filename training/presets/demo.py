"""The survival skill, fast: keep every factory alive by carrying ice. These are the defaults of `TrainConfig`.

Many small iterations with large steps learn it within two seconds, and the learning rate that falls to 0 makes the most
of what it ends with (docs/results/survival.md).
"""

from __future__ import annotations

from training.config import TrainConfig

DEMO = TrainConfig()
