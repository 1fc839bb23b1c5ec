"""The training benchmark: its official games are the engine's games, and its numbers are what they are called."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import torch

from agent.opening import opening
from benchmarks.official_games import OfficialGames
from benchmarks.train import PARTS, Contestant, main, rollout_memory
from engine.config import GameConfig
from engine.maps import MapPool
from tests.rows import sample
from training.config import PPOConfig
from training.ppo.learner import PPOLearner
from training.presets import PRESETS
from training.run.progress import Clock
from wrappers.action import ActionConfig
from wrappers.vec_env import VecEnv

torch.set_num_threads(1)

SMALL = dataclasses.replace(PRESETS["demo"], train_maps=2, ppo=PPOConfig(num_games=2, rollout_steps=4, epochs=1, minibatches=2))
# slots are left out: official robots move up when one before them dies
FIELDS = ("feature", "side", "kind", "cell", "ident", "home", "mask", "planes", "scalar")


def test_the_official_games_are_those_of_the_engine() -> None:
    """The peer plays the same game by the same numbers: equal observations, rewards and results, to the end and into the next."""
    config, actions = GameConfig.for_map_size(48), ActionConfig.survival()
    ours = VecEnv(config, 2, MapPool(config, range(4)), opening, actions=actions, shuffle=False)
    official = OfficialGames(config, 2, opening, actions=actions)
    rng = np.random.default_rng(0)
    ours.reset()
    official.reset()
    earned, ended = 0.0, 0
    for turn in range(220):
        for name in FIELDS:
            assert np.array_equal(getattr(ours.obs, name), getattr(official.obs, name)), f"{name}, turn {turn}"
        action = sample(ours.obs.mask, rng)
        mine, theirs = ours.step(action), official.step(action)
        assert np.array_equal(mine.reward, theirs.reward), f"reward, turn {turn}"
        assert np.array_equal(mine.done, theirs.done) and mine.finished == theirs.finished
        earned, ended = earned + float(mine.reward.sum()), ended + len(mine.finished)
        ours.reset_done()
        official.reset_done()
    assert earned > 1 and ended >= 2


def test_the_benchmark_reports_what_it_promises(tmp_path, capsys) -> None:
    found = main(0.2, config=SMALL, rounds=2, warm_up=16, head_start=3, task_games=2)
    for name in ("env_steps_per_s", "entity_steps_per_s", "peer_env_steps_per_s", "ratio", "tuned_peer_ratio", "rollout_bytes"):
        assert found[name] > 0
    assert found["entity_steps_per_s"] > 2 * found["env_steps_per_s"]  # each side has a factory at least
    assert found["tasks_env_steps_per_s"] > 0 and found["tasks_entities_per_env_step"] < found["entities_per_env_step"]
    for split in (found["split"], found["peer_split"], found["tuned_peer_split"], found["tasks_split"]):
        assert sum(split.values()) == pytest.approx(1.0) and min(split.values()) >= 0
    assert set(found["split"]) == {*PARTS, "rest"} and all(found["split"][part] > 0 for part in PARTS)
    printed = capsys.readouterr().out
    assert f"{found['ratio']:.1f}x\n" in printed and f"{found['tuned_peer_ratio']:.1f}x\n" in printed and "MB" in printed


def test_a_round_counts_steps_time_and_sections() -> None:
    clock = Clock()

    def iterate() -> tuple[int, int]:
        with clock("update"):
            time.sleep(0.03)
        time.sleep(0.01)
        return 10, 70

    contestant = Contestant(iterate, clock)
    for _ in range(2):
        contestant.play(0.1)
    rounds = contestant.rounds
    assert rounds.env_steps == [10 * (steps // 70) for steps in rounds.entity_steps] and min(rounds.env_steps) >= 20
    assert rounds.speed("entity_steps") == pytest.approx(7 * rounds.speed())
    assert rounds.speed() < 10 / 0.04
    split = contestant.split({"update": ("update",)})
    assert 0.5 < split["update"] < 0.95 and split["rest"] == pytest.approx(1 - split["update"])


def test_memory_of_a_rollout_is_bounded_by_what_is_said() -> None:
    trainer = PPOLearner(dataclasses.replace(SMALL, device="cpu"))
    trainer.collect()
    memory = rollout_memory(trainer.rollout)
    assert memory["rows"] == trainer.rollout.count <= memory["room"]
    assert memory["bytes"] == trainer.rollout.nbytes < memory["most_bytes"]
    before = memory["bytes"]
    trainer.step_iteration()
    assert trainer.rollout.nbytes == before  # reused, not grown, as long as the rows fit
