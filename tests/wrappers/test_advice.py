"""Advice: a policy sees what an adviser would do, does it at first, and a run with one resumes exactly and plays by the judge's rules."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from agent import policy as policy_module
from agent.advisers import ADVISERS, advice_for
from agent.heads import FACTORS, LOGITS, Distribution, advised_logits
from agent.lichen_opening import lichen_opening
from agent.policy import Policy, PolicyConfig, policy_sizes
from agent.scripted import make_act
from agent.scripted.protocol import plain
from agent.stored import Agent
from arena.evaluate import evaluate
from arena.fast import Fixture, play_games
from arena.match import Referee, env_settings
from engine.config import GameConfig
from engine.maps import MapPool
from submission import entry
from tests.training.test_league import differences, same
from training.config import LeagueConfig, PPOConfig, TrainConfig
from training.imitation.lessons import Lesson, LessonConfig, play
from training.ppo.learner import PPOLearner
from training.run import checkpoint
from training.train import full_config
from training.trajectories.rollout import Rollout
from wrappers.action import KINDS, MASK_BITS, MOVE, PICKUP, RECHARGE, TRANSFER, ActionConfig
from wrappers.advice import ADVICE
from wrappers.features import ROBOT_WIDTH
from wrappers.judge import PLAYERS
from wrappers.vec_env import VecEnv

torch.set_num_threads(1)

CONFIG = GameConfig.for_map_size(32)
ACTIONS = ActionConfig.full(rubble_distance=10)
FARMER = partial(make_act, "farmer")
OBEDIENT = PolicyConfig(width=32, channels=4, adviser="farmer", advice_gain=100.0)


def policy(config: PolicyConfig = OBEDIENT) -> Policy:
    torch.manual_seed(0)
    return Policy(config, policy_sizes(ACTIONS, config)).eval()


def test_advised_logits_make_the_advised_action_the_likeliest():
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(rng.integers(0, 1 << MASK_BITS, 2000) | 1)
    everything = torch.ones(3, dtype=torch.bool)
    action, _ = Distribution(torch.randn(2000, LOGITS), mask, everything).sample(torch.Generator().manual_seed(0))
    assert len(action[:, 0].unique()) >= KINDS - 1
    columns = torch.cat([action.float(), torch.ones(2000, 1)], 1)
    advised = advised_logits(columns)
    followed, _ = Distribution(torch.rand(2000, LOGITS) + 2 * advised, mask, everything).sample(greedy=True)
    assert torch.equal(followed, action)
    # as many logits as the action has factors, and none without advice
    later = ([MOVE, TRANSFER], [TRANSFER, PICKUP], [TRANSFER, PICKUP, RECHARGE])  # kinds with a direction, a resource, an amount
    used = 1 + np.stack([np.isin(action[:, 0].numpy(), kinds) for kinds in later]).sum(0)
    assert advised.sum(1).tolist() == used.tolist() and used.max() == FACTORS
    columns[:, 4] = 0
    assert not advised_logits(columns).any()


def test_a_policy_that_always_follows_plays_as_the_adviser_does():
    turns = 150
    played = play(LessonConfig(map_size=32, actions=ACTIONS, keep=0.05, max_turns=turns), Lesson(Path("game"), 7), FARMER)
    env = VecEnv(CONFIG, 1, MapPool(CONFIG, [7]), lichen_opening, actions=ACTIONS, max_turns=turns, columns=ADVICE)
    advice, agent = advice_for(policy(), ACTIONS, CONFIG), policy()
    assert advice is not None
    env.reset()
    results: list = []
    while not results:
        advice.write(env.games, env.rules, env.obs, range(2))
        action = agent.act(env.obs, greedy=True)
        advice.watch(env.obs, action)
        results = env.step(action).finished
    result = results[0]
    assert np.array_equal(played.outcome, np.array([result.lichen, result.factories, result.robots, result.ice_got]).T)
    assert min(result.lichen) > 1000


@pytest.mark.parametrize("opponent", [False, True])
def test_evaluation_and_arena_ask_the_adviser_too(opponent: bool):
    """Both loops, with equal actions, end in the same games; `opponent`: two different agents meet."""
    agent = Agent(policy(), ACTIONS)
    other = Agent(policy(), dataclasses.replace(ACTIONS, water_reserve=0))
    config = dataclasses.replace(CONFIG, max_episode_length=230)
    judged = evaluate(agent, config, [7, 8], other if opponent else None, greedy=True).games
    for side in (agent, other):
        side.policy.config = dataclasses.replace(side.policy.config, greedy=True)  # the arena samples
    fixtures = [Fixture(agent, other if opponent else agent, 7), Fixture(other if opponent else agent, agent, 8)]
    outcomes = dict(play_games(fixtures, config, MapPool(config, [7, 8])))
    for i, result in enumerate(judged):
        assert (outcomes[i].lichen, outcomes[i].robots) == (result.lichen, result.robots) and min(result.lichen) > 300


def test_advice_is_asked_once_a_turn_and_forgotten_with_the_game():
    env = VecEnv(CONFIG, 2, MapPool(CONFIG, range(2)), lichen_opening, actions=ACTIONS, max_turns=12, columns=ADVICE)
    advice = advice_for(policy(), ACTIONS, CONFIG)
    assert advice is not None
    env.reset()
    assert not env.obs.feature[:, ROBOT_WIDTH:].any()
    for _ in range(12):
        advice.write(env.games, env.rules, env.obs, range(4))
        before = env.obs.feature.copy()
        memory = advice.state()
        advice.write(env.games, env.rules, env.obs, range(4))
        assert np.array_equal(before, env.obs.feature) and differences(memory, advice.state()) == []
        action = env.obs.feature[:, ROBOT_WIDTH : ROBOT_WIDTH + 4].astype(np.int64)
        assert (env.obs.feature[:, -1] == 1).all() and action[:, 0].any()
        advice.watch(env.obs, action)
        step = env.step(action)
    assert len(step.finished) == 2 and len(advice.teachers) == 4
    for result in step.finished:
        advice.forget(result.game)
    assert advice.state() == {}


SMALL = TrainConfig(
    map_size=32,
    max_turns=30,
    stagger=True,
    train_maps=4,
    device="cpu",
    actions=ACTIONS,
    policy=PolicyConfig(width=32, channels=4, adviser="farmer", advice_gain=3.0),
    ppo=PPOConfig(num_games=4, rollout_steps=8, epochs=1, minibatches=2),
)


def test_the_last_states_of_games_that_are_cut_are_valued_with_advice(monkeypatch):
    seen = []
    cut = Rollout.cut

    def look(rollout, obs, value):
        games = np.flatnonzero(rollout.truncated[rollout._step - 1])
        rows = np.isin(obs.side[: obs.rows] // 2, games)
        seen.append((obs.feature[: obs.rows, -1][rows].copy(), obs.feature[: obs.rows, ROBOT_WIDTH][rows].copy()))
        cut(rollout, obs, value)

    monkeypatch.setattr(Rollout, "cut", look)
    trainer = PPOLearner(dataclasses.replace(SMALL, max_turns=10))
    for _ in range(3):
        trainer.collect()
    assert len(seen) > 4 and all(len(given) and (given == 1).all() for given, _ in seen) and any(kind.any() for _, kind in seen)


def test_what_was_advised_is_forgotten_with_the_game():
    env = VecEnv(CONFIG, 2, MapPool(CONFIG, range(2)), lichen_opening, actions=ACTIONS, columns=ADVICE)
    advice = advice_for(policy(), ACTIONS, CONFIG)
    assert advice is not None
    env.reset()
    advice.write(env.games, env.rules, env.obs, range(4))
    advice.forget(0)  # nobody was told what is done: the game was cut
    assert sorted(advice.teachers) == sorted(advice.told) == [2, 3]
    advice.write(env.games, env.rules, env.obs, range(4))
    assert sorted(advice.teachers) == sorted(advice.told) == [0, 1, 2, 3]


def test_a_resumed_run_is_given_the_same_advice():
    def state(trainer: PPOLearner) -> dict:
        return {"policy": trainer.policy.state_dict(), **trainer.state()}

    whole = PPOLearner(SMALL)
    for _ in range(4):
        whole.step_iteration()
    stored = copy.deepcopy(state(whole))
    resumed = PPOLearner(SMALL)
    resumed.policy.load_state_dict(stored.pop("policy"))
    resumed.load_state(stored)
    for _ in range(3):
        whole.step_iteration()
        resumed.step_iteration()
    assert differences(whole.state(), resumed.state()) == []
    assert same(whole.policy.state_dict(), resumed.policy.state_dict())


def test_a_league_of_advised_policies_resumes_exactly():
    """Past policies are advised as well, scripted agents are not."""
    config = dataclasses.replace(SMALL, league=LeagueConfig(share=0.75, scripted=("miner",), max_steps=64, pool=6, distinct=3))
    whole, resumed = PPOLearner(config), PPOLearner(config)
    for _ in range(6):
        whole.step_iteration()
    assert whole.advice is not None and whole.league is not None and whole.league.last_entry > 0
    scripted = {2 * game + int(whole.seats.player[game]) for game in whole.seats.scripts}
    assert scripted and set(whole.advice.told) == set(range(8)) - scripted
    stored = copy.deepcopy({"policy": whole.policy.state_dict(), **whole.state()})
    resumed.policy.load_state_dict(stored.pop("policy"))
    resumed.load_state(stored)
    for _ in range(2):
        whole.step_iteration()
        resumed.step_iteration()
    assert differences(whole.state(), resumed.state()) == []
    assert same(whole.policy.state_dict(), resumed.policy.state_dict())


def test_a_league_without_advice_refuses_an_advised_opponent(tmp_path):
    trainer = PPOLearner(SMALL)
    checkpoint.save(tmp_path / "given", full_config(trainer), trainer.policy.state_dict())
    league = LeagueConfig(share=0.5, checkpoints=(str(tmp_path / "given"),))
    plain_run = PPOLearner(dataclasses.replace(SMALL, policy=PolicyConfig(width=32, channels=4), league=league))
    assert plain_run.league is not None
    with pytest.raises(ValueError, match="has the adviser farmer; it can play in runs only"):
        plain_run.league.agent(0)
    advised_run = PPOLearner(dataclasses.replace(SMALL, league=league))
    assert advised_run.league is not None and advised_run.league.agent(0).policy.config.adviser == "farmer"


def test_who_has_no_adviser_plays_beside_one_who_has():
    """Of an observation with advice, a policy without an adviser sees the rest."""
    plain_policy = policy(PolicyConfig(width=32, channels=4))
    env = VecEnv(CONFIG, 1, MapPool(CONFIG, [7]), lichen_opening, actions=ACTIONS, columns=ADVICE)
    env.reset()
    env.obs.feature[:, ROBOT_WIDTH:] = 1
    wide = plain_policy.act(env.obs, greedy=True)
    narrow = VecEnv(CONFIG, 1, MapPool(CONFIG, [7]), lichen_opening, actions=ACTIONS)
    narrow.reset()
    assert np.array_equal(wide, plain_policy.act(narrow.obs, greedy=True))


def test_the_policy_learns_how_far_to_follow():
    trainer = PPOLearner(SMALL)
    before = trainer.policy.advice_gain.detach().clone()
    trainer.step_iteration()
    assert not torch.equal(trainer.policy.advice_gain, before) and trainer.policy.advised.weight.detach().any()


def test_the_judge_hears_what_an_advised_policy_decides_in_training():
    """Both sides by the judge's JSON on the official engine, and beside it the same on ours: equal actions turn by turn."""
    referee = Referee(7, env_settings(32))
    agent = policy(dataclasses.replace(OBEDIENT, advice_gain=2.0))
    players = [entry.Player(name, referee.env_cfg, (agent, ACTIONS, True)) for name in PLAYERS]
    env = VecEnv(CONFIG, 1, MapPool(CONFIG, [7]), lichen_opening, actions=ACTIONS, shuffle=False, columns=ADVICE)
    advice = advice_for(agent, ACTIONS, CONFIG)
    assert advice is not None
    env.reset()
    turns = 0
    while turns < 60:
        obs = json.loads(referee.observation)
        playing = obs["real_env_steps"] >= 0
        answers = {name: plain(player.act(obs, 60.0)) for name, player in zip(PLAYERS, players)}
        if playing:
            turns += 1
            advice.write(env.games, env.rules, env.obs, range(2))
            action = agent.act(env.obs, greedy=True)
            robots = [len(obs["units"][name]) for name in PLAYERS]
            assert robots == env.games[0]["robot_count"].tolist()
            for player, side in enumerate(players):
                rows = slice(int(env.obs.first[player]), int(env.obs.first[player + 1]))
                assert np.array_equal(side.observation.feature, env.obs.feature[rows]), (turns, player)
            advice.watch(env.obs, action)
            env.step(action)
        assert referee.play(answers) == {}
    assert [player.errors for player in players] == [0, 0]


def answers_to_the_judge(turns: int) -> list[dict]:
    """What an advised policy answers as both sides of a match on the official engine."""
    referee = Referee(7, env_settings(24))
    agent = policy(dataclasses.replace(OBEDIENT, advice_gain=4.0))
    players = [entry.Player(name, referee.env_cfg, (agent, ACTIONS, True)) for name in PLAYERS]
    answers = []
    while referee.turns < turns:
        obs = json.loads(referee.observation)
        answers.append({name: plain(player.act(obs, 60.0)) for name, player in zip(PLAYERS, players)})
        assert referee.play(answers[-1]) == {}
    assert [player.errors for player in players] == [0, 0]
    return answers


def test_the_judge_hears_the_same_without_compiled_code():
    """The judge's machine runs everything as it is written, where numpy's integers are narrow."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == json.loads(json.dumps(answers_to_the_judge(40)))


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="adviser is 'nobody'; accepted are farmer, reaper, or none"):
        PolicyConfig(adviser="nobody")
    with pytest.raises(ValueError, match="only mppo learns with an adviser"):
        TrainConfig(algo="iql", policy=PolicyConfig(adviser="farmer"))
    with pytest.raises(ValueError, match="adviser is farmer, and the sizes have no room for advice"):
        policy_module.Policy(OBEDIENT, policy_module.policy_sizes(ActionConfig.full()))
    assert set(ADVISERS) == set(policy_module.ADVISERS)


if __name__ == "__main__":
    print(json.dumps(answers_to_the_judge(40)))
