"""Measure speed, side by side with what it is compared with."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from commands.options import check_output, parse, write_json
from engine.config import check_range


@dataclass(frozen=True)
class Bench:
    what: tyro.conf.Positional[Literal["engine", "train", "act"]] = "engine"
    """engine: against the official one, at three loads. train: a whole training. act: a packaged agent's turn, 200 robots."""
    seconds: float = 10.0
    """How long each measurement takes, about."""
    json: Path | None = None
    """Write the numbers here."""


def run(argv: list[str]) -> None:
    args = parse(Bench, argv, "bench", __doc__)
    check_range(args, 0.1, 3600, "seconds")
    check_output(args.json)
    write_json(args.json, importlib.import_module(f"benchmarks.{args.what}").main(args.seconds))
