"""Features of a user's own: what the network sees beside ours, the same in training, in matches and on the judge's machine."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.opening import opening
from agent.policy import Policy, PolicyConfig, policy_sizes
from agent.stored import Agent, load_agent
from arena.fast import Fixture, play_games
from arena.match import NO_FACTORIES, play_match
from arena.rating.entrants import Field
from engine.config import GameConfig
from engine.maps import MapPool
from engine.state import WATER
from main import main
from submission.package import package
from tests.rows import sample
from training.imitation.imitate import ImitateConfig
from wrappers.action import ActionConfig
from wrappers.features import ROBOT_WIDTH
from wrappers.observation import Observation, observe_side
from wrappers.own_features import features_of
from wrappers.vec_env import VecEnv

DOCS = Path(__file__).parents[2] / "docs" / "own_parts.md"
(SNIPPET,) = (text for text in re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL) if "seen" in text)
FEATURES = f"""
{SNIPPET}

def one(seen):
    return np.ones(len(seen.slot))


def two(seen):
    return np.full(len(seen.slot), 2.0)


def short(seen):
    return np.ones(1)


def odd(seen):
    return np.full(len(seen.slot), np.inf)


nothing = 1
"""
CONFIG = GameConfig(map_size=24, min_factories=1, max_factories=2)
OPTIONS = [
    *("--map-size", "16", "--train-maps", "2", "--eval-maps", "1", "--max-turns", "20", "--eval-every", "0"),
    *("--ppo.num-games", "4", "--ppo.rollout-steps", "8", "--ppo.minibatches", "1"),
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file of features, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "features.py"
    path.write_text(FEATURES)
    return path


def agent_with(*names: str, seed: int = 0) -> Agent:
    torch.manual_seed(seed)
    actions = ActionConfig.full()
    config = PolicyConfig(width=16, channels=4, features=names)
    return Agent(Policy(config, policy_sizes(actions, config)).eval(), actions)


def test_they_are_trained_with_resumed_and_shipped(file):
    """Named by file; the package has it in a file of its own and plays without ours."""
    names = ["features.py:thirst", "features.py:two"]
    assert main(["train", "--run-dir", "run", "--env-steps", "64", "--policy.features", *names, *OPTIONS]) == 0
    begun = load_agent("run")[0].policy
    assert main(["train", "--run-dir", "run", "--resume", "--env-steps", "128"]) == 0
    agent, _, stored = load_agent("run/latest")
    assert stored.config["policy"]["features"] == names and not torch.equal(agent.policy.own.weight, begun.own.weight)
    package("run", "agent.tar.gz")
    with tarfile.open("agent.tar.gz") as tar:
        assert [name.split("/", 1)[1] for name in tar.getnames() if "/own/" in name] == ["own/__init__.py", "own/features_0.py"]
    file.unlink()  # the judge does not have it
    for left, right in (("agent.tar.gz", "idle"), ("idle", "agent.tar.gz")):
        result = play_match(left, right, 3, 16, log_dir="logs")
        side = "left" if right == "idle" else "right"
        assert getattr(result, side).error in (None, NO_FACTORIES) and "Internal error" not in Path(f"logs/{side}.log").read_text()


def test_their_columns_are_what_they_say_and_ours_are_as_they_were(file):
    own = features_of([f"{file}:thirst", f"{file}:two"])
    pool = MapPool(CONFIG, range(4))
    env, plain = (VecEnv(CONFIG, 3, pool, opening, seed=1, columns=2, own=functions) for functions in (own, ()))
    rng = np.random.default_rng(0)
    env.reset()
    plain.reset()
    for _ in range(40):
        rows, obs = env.obs.rows, env.obs
        assert np.array_equal(obs.feature[:rows, :ROBOT_WIDTH], plain.obs.feature[:rows, :ROBOT_WIDTH])
        assert (obs.feature[:rows, ROBOT_WIDTH + 1] == 2).all() and not obs.feature[:rows, ROBOT_WIDTH + 2 :].any()
        for i in range(rows):
            game, expected = env.games[obs.side[i] // 2], 0.0
            if obs.kind[i] == 0:
                expected = 1 - min(int(game["factory_cargo"][obs.ident[i], WATER]), 100) / 100
            assert obs.feature[i, ROBOT_WIDTH] == np.float32(expected)
        for b in range(2 * 3):  # the judge's way: a side alone
            alone = Observation(1, own=own)
            observe_side(env.games[b // 2], env.rules, env.action_rules, env.static[b // 2], b % 2, alone)
            theirs = obs.feature[obs.first[b] : obs.first[b + 1], : ROBOT_WIDTH + 2]
            assert np.array_equal(alone.feature, theirs) and not alone.side.any()
        action = sample(obs.mask[:rows], rng)
        for one in (env, plain):
            one.step(action)
            one.reset_done()


def test_what_a_row_decides_follows_its_own_features_and_no_other_rows(file):
    agent = agent_with(f"{file}:thirst")
    env = VecEnv(CONFIG, 2, MapPool(CONFIG, range(2)), opening, actions=agent.actions, own=agent.policy.own_features)
    env.reset()
    batch = agent.policy.batch(env.obs)
    changed = batch._replace(feature=batch.feature.clone())
    changed.feature[0, ROBOT_WIDTH] += 1
    with torch.no_grad():
        before, after = agent.policy(batch), agent.policy(changed)
    assert not torch.allclose(before.logits[0], after.logits[0]) and not torch.allclose(before.value[0], after.value[0])
    assert torch.equal(before.logits[1:], after.logits[1:])


def test_players_with_other_features_see_their_own(file, monkeypatch):
    """In the same games, at the same time, offered the same."""
    agents = [agent_with(f"{file}:{name}") for name in ("one", "two")]
    shown: list[set[float]] = [set(), set()]
    for agent, numbers in zip(agents, shown):

        def act(obs: Observation, *rest: Any, own: Any = agent.policy.act, numbers: set[float] = numbers) -> np.ndarray:
            numbers.update(obs.feature[: obs.rows, ROBOT_WIDTH].tolist())
            return own(obs, *rest)

        monkeypatch.setattr(agent.policy, "act", act)
    list(play_games([Fixture(agents[0], agents[1], 5)], CONFIG, MapPool(CONFIG, [5])))
    assert shown == [{1.0}, {2.0}]


def test_a_league_of_players_with_and_without(file):
    assert main(["train", "--run-dir", "plain", "--env-steps", "32", *OPTIONS]) == 0
    assert main(["train", "--run-dir", "one", "--env-steps", "32", "--policy.features", "features.py:one", *OPTIONS]) == 0
    league = ["--league.share", "0.5", "--league.checkpoints", "plain", "one"]
    assert main(["train", "--run-dir", "two", "--env-steps", "256", "--policy.features", "features.py:two", *league, *OPTIONS]) == 0
    assert (
        main(
            [
                "train",
                "--run-dir",
                "taught",
                "--env-steps",
                "32",
                "--policy.features",
                "features.py:two",
                "--ppo.teacher",
                "plain",
                *OPTIONS,
            ]
        )
        == 0
    )


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (["thirst"], "policy.features has 'thirst'; accepted are functions of your own"),
        (["features.py:nobody"], "has no 'nobody'"),
        (["features.py:nothing"], "features.py:nothing is no function"),
        (["features.py:short"], "The feature short gives shape (1,)"),
        (["features.py:odd"], "The feature odd gives a number that is not finite"),
    ],
)
def test_a_wrong_feature_is_a_sentence(file, capsys, features, words):
    try:
        code = main(["train", "--run-dir", "run", "--env-steps", "32", "--policy.features", *features, *OPTIONS])
    except SystemExit as ended:  # of the options' own reader
        code = ended.code
    assert code == 2 and words in " ".join(capsys.readouterr().err.split())


def test_what_cannot_see_them_says_so(file):
    policy = PolicyConfig(features=("features.py:one",))
    with pytest.raises(ValueError, match="lessons hold none of one's own"):
        ImitateConfig(policy=policy)
    with pytest.raises(ValueError, match="the sizes have room for 0 of one's own"):
        Policy(policy, policy_sizes(ActionConfig.full()))


@pytest.mark.parametrize("part", ["feature", "backbone"])
def test_a_rating_knows_a_player_by_the_files_of_its_parts(file, part):
    """The same checkpoint with another part is another player; with the same one it is the same."""
    file.write_text(FEATURES + BACKBONE)
    options = {"feature": ["--policy.features", "features.py:one"], "backbone": ["--policy.backbone", "features.py:Skip"]}[part]
    assert main(["train", "--run-dir", "run", "--env-steps", "32", *options, *OPTIONS]) == 0

    def ident() -> Any:
        with Field(["run"]) as field:
            return field.entrants[0].ident

    first = ident()
    assert ident() == first
    file.write_text(file.read_text() + "\n# another way to say it\n")
    assert ident() != first


BACKBONE = """
from agent.backbones import Backbone


class Skip(Backbone):
    def forward(self, feature, entities, stored=None):
        return feature, {}

    def __init__(self, width):
        super().__init__()
"""
