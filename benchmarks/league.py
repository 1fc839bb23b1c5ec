"""What a league costs: milliseconds a turn of each scripted agent, and training's speed with and without opponents.

    python -m benchmarks.league

Times are this process's CPU time, which other work on the machine does not stretch much.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch

from agent.scripted import make_act, names
from engine.config import GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from training.config import LeagueConfig
from training.ppo.learner import PPOLearner
from training.presets import PRESETS
from wrappers.scripted import ScriptedSide

ITERATIONS = 24
LEAGUES = {
    "self-play": LeagueConfig(),
    "half of the games against past policies": LeagueConfig(share=0.5),
    "the same and farmer in the pool": LeagueConfig(share=0.5, scripted=("farmer",)),
    "all games against past policies": LeagueConfig(share=1.0),
}


def scripted_turns(name: str) -> np.ndarray:
    """CPU milliseconds of each turn of a game on a 48x48 map against farmer, opening included."""
    config = GameConfig.for_map_size(48)
    engine = Engine(config, 1)
    engine.reset(0, MapPool(config, range(1)), 0)
    sides = [ScriptedSide(lambda: make_act(name), config), ScriptedSide(lambda: make_act("farmer"), config)]
    game, spent = engine.games[0], []
    while not game["done"]:
        for player, side in enumerate(sides):
            began = time.process_time()
            side.write_orders(game, engine.rules, player, engine.orders[0])
            if player == 0:
                spent.append(1000 * (time.process_time() - began))
        engine.step()
    return np.array(spent)


def training_speed(league: LeagueConfig) -> float:
    """Environment steps a CPU second of the preset full, from its beginning, after one iteration to warm up."""
    trainer = PPOLearner(dataclasses.replace(PRESETS["full"], device="cpu", train_maps=8, league=league))
    trainer.step_iteration()
    before, began = trainer.env_steps, time.process_time()
    for _ in range(ITERATIONS):
        trainer.step_iteration()
    return (trainer.env_steps - before) / (time.process_time() - began)


def main() -> None:
    torch.set_num_threads(1)
    for name in names():
        turns = scripted_turns(name)
        print(f"{name}: {np.mean(turns):.2f} ms a turn, median {np.median(turns):.2f} ms, {len(turns)} turns")
    for name, league in LEAGUES.items():
        print(f"{name}: {training_speed(league):,.0f} environment steps a CPU second")


if __name__ == "__main__":
    main()
