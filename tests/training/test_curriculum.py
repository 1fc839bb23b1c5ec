"""Curricula: games that begin in a recorded state go on as the recorded match did, and a run of them resumes exactly."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from agent.opening import opening
from agent.plain import from_dict, to_dict
from arena.replay import read_replay, write_replay
from engine.config import GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from engine.official_actions import actions_to_orders
from tests.recorded import plain, record
from tests.training.test_training import SMALL as RUN
from tests.training.test_training import weights
from training.config import CurriculumConfig, LeagueConfig, TrainConfig
from training.ppo.learner import PPOLearner
from training.trajectories.starts import read_starts
from wrappers.judge import PLAYERS
from wrappers.scripted import judge_observation
from wrappers.vec_env import VecEnv

CONFIG = GameConfig.for_map_size(24)


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first turns of the farmer against the raider."""
    match = record(("farmer", "raider"), 3, 132)
    observations, actions = ([json.dumps(value) for value in match[name]] for name in ("observations", "actions"))
    path = tmp_path_factory.mktemp("starts") / "replay.json.gz"
    return write_replay(path, observations, actions, match["metadata"], match["env_cfg"])


def test_a_match_goes_on_from_a_start_as_it_was_recorded(replay: Path) -> None:
    recorded = read_replay(replay)
    opened = next(i for i, obs in enumerate(recorded["observations"]) if obs["real_env_steps"] == 0)
    starts = read_starts([str(replay)], CONFIG, every=20, turns=1000)
    assert starts["real_step"].tolist() == [20, 40, 60, 80, 100, 120] and (starts["seed"] == 3).all()
    for start in (0, 3):
        engine = Engine(CONFIG, 1)
        engine.games[0] = starts[start]
        first = opened + int(starts["real_step"][start])
        for turn in range(first, len(recorded["actions"])):
            assert plain(judge_observation(engine.games[0], 24)) == recorded["observations"][turn]
            for player, agent in enumerate(PLAYERS):
                answer = {
                    key: np.array(value) if isinstance(value, list) else value for key, value in recorded["actions"][turn][agent].items()
                }
                actions_to_orders(answer, engine.games[0], engine.rules, player, engine.orders[0])
            engine.step()
        assert engine.games[0]["lichen_total"].sum() > 0


def test_restarts_take_the_wanted_share_of_starts(replay: Path) -> None:
    starts = read_starts([str(replay)], CONFIG, every=20, turns=1000)
    for share, low, high in ((0.0, 0, 0), (0.5, 8, 24), (1.0, 32, 32)):
        env = VecEnv(CONFIG, 32, MapPool(CONFIG, range(4)), opening, starts=starts, start_share=share)
        obs = env.reset()
        begun = env.games["real_step"]
        assert low <= (begun > 0).sum() <= high
        assert set(begun.tolist()) <= {0, 20, 40, 60, 80, 100, 120}
        assert obs.rows >= 32 * 2 * 2
        result = env.step(np.zeros((obs.rows, 4), np.int64))
        assert not result.done.any()


def test_starts_that_no_game_can_have_are_left_out_or_refused(replay: Path, tmp_path: Path) -> None:
    assert read_starts([str(replay)], CONFIG, every=20, turns=41)["real_step"].tolist() == [20, 40]
    with pytest.raises(ValueError, match="reach no state at every 50th turn below 30"):
        read_starts([str(replay)], CONFIG, every=50, turns=30)
    with pytest.raises(ValueError, match="was played on a 24x24 map; this run trains on 48x48"):
        read_starts([str(replay)], GameConfig(), every=20, turns=1000)
    (tmp_path / "other.json").write_text("{}")
    changed = read_replay(replay)
    changed["env_cfg"] = {**changed["env_cfg"], "max_episode_length": 100}
    (tmp_path / "rules.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="rules.json: it was played by other rules"):
        read_starts([str(tmp_path / "rules.json")], CONFIG, every=20, turns=1000)
    changed["env_cfg"], changed["observations"][50] = {}, {}
    (tmp_path / "turn.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="turn.json is no replay of Lux AI Season 2: it has no 'teams'"):
        read_starts([str(tmp_path / "turn.json")], CONFIG, every=20, turns=1000)
    with pytest.raises(ValueError, match="no replay"):
        read_starts([str(tmp_path / "other.json")], CONFIG, every=20, turns=1000)


def test_a_run_that_begins_in_replays_resumes_exactly(replay: Path) -> None:
    """Games are cut off after a few turns, so that new ones begin before and after the stop."""
    config = dataclasses.replace(
        RUN, map_size=24, max_turns=70, stagger=True, curriculum=CurriculumConfig(replays=(str(replay),), share=0.7, every=20)
    )
    whole, stopped = PPOLearner(config), PPOLearner(config)
    assert (whole.env.games["real_step"] > 0).any()
    for _ in range(3):
        whole.step_iteration()
    stopped.step_iteration()
    state = stopped.state()
    resumed = PPOLearner(config)
    resumed.policy.load_state_dict(stopped.policy.state_dict())
    resumed.load_state(state)
    for _ in range(2):
        resumed.step_iteration()
    np.testing.assert_array_equal(weights(whole), weights(resumed))
    np.testing.assert_array_equal(whole.env.games["real_step"], resumed.env.games["real_step"])


def test_training_games_can_have_fewer_factories_and_evaluations_have_as_many_as_ever() -> None:
    config = dataclasses.replace(RUN, curriculum=CurriculumConfig(factories=(1, 1)))
    trainer = PPOLearner(config)
    assert (trainer.env.games["factory_count"] == 2).all()
    trainer.step_iteration()
    assert config.game() == GameConfig.for_map_size(48)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share": 1.5}, "accepted are 0 to 1"),
        ({"every": 0}, "at least 1"),
        ({"factories": (0, 2)}, "curriculum.factories are 0 and 2"),
        ({"factories": (3, 2)}, "curriculum.factories are 3 and 2"),
    ],
)
def test_curricula_that_make_no_sense_are_refused(change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainConfig(curriculum=CurriculumConfig(**change))


def test_scripted_opponents_play_whole_games_only() -> None:
    with pytest.raises(ValueError, match="scripted opponents play whole games only"):
        TrainConfig(curriculum=CurriculumConfig(replays=("a.json",)), league=LeagueConfig(share=0.5, scripted=("farmer",)))
    TrainConfig(curriculum=CurriculumConfig(replays=("a.json",)), league=LeagueConfig(share=0.5))


def test_curricula_survive_the_config_file() -> None:
    config = TrainConfig(curriculum=CurriculumConfig(factories=(1, 3), replays=("a.json", "b.json")))
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config
