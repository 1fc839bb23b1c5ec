"""Presets: configs whose values were tuned together, a file each, with why they are what they are."""

from __future__ import annotations

from training.config import TrainConfig
from training.presets.advised import ADVISED
from training.presets.demo import DEMO
from training.presets.full import FULL
from training.presets.paper import PAPER

PRESETS: dict[str, TrainConfig] = {"demo": DEMO, "paper": PAPER, "full": FULL, "advised": ADVISED}
