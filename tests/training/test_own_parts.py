"""Parts of a user's own, from files outside the repository: a backbone, a reward term, a learner, and options in a file."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from agent.opening import opening
from agent.policy import PolicyConfig
from agent.stored import load_agent
from arena.match import NO_FACTORIES, play_match
from engine.config import GameConfig
from engine.maps import MapPool
from engine.parts import load_part
from main import main
from submission.package import package
from tests.rows import sample
from training.config import PPOConfig, TrainConfig, config_of
from training.run import checkpoint
from training.train import train
from wrappers.action import ActionConfig
from wrappers.rewards import FACTORY_EVENT, ROBOT_EVENT, RewardConfig
from wrappers.vec_env import VecEnv

DOCS = Path(__file__).parents[2] / "docs" / "own_parts.md"
NET, _, TERM = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
BACKBONE = f"""
import torch.nn as nn
{NET}

class Stranger(nn.Module):
    pass
"""
REWARD = f"""
{TERM}

def short(turn):
    return turn.event("ice_dug")[1:]


nothing = 1
"""
LEARNER = """
from training.ppo.learner import PPOLearner


class Proud(PPOLearner):
    def step_iteration(self):
        return {**super().step_iteration(), "charts/pride": 1.0}
"""
PPO = PPOConfig(num_games=4, rollout_steps=8, minibatches=1)
TINY = {"env_steps": 64, "map_size": 16, "train_maps": 2, "eval_every": 10**6, "eval_maps": 1, "ppo": PPO}
OPTIONS = [
    *("--env-steps", "64", "--map-size", "16", "--train-maps", "2", "--eval-maps", "1", "--max-turns", "20"),
    *("--ppo.num-games", "4", "--ppo.rollout-steps", "8", "--ppo.minibatches", "1"),
]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, which is the current one."""
    for name, text in (("nets", BACKBONE), ("wishes", REWARD), ("teaching", LEARNER)):
        (tmp_path / f"{name}_of_{tmp_path.name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file_of(folder: Path, name: str) -> str:
    return str(folder / f"{name}_of_{folder.name}.py")


def test_a_backbone_trains_resumes_and_ships(outside):
    """Named as a module of the current folder; the package has it in a file of its own and plays without ours."""
    name = f"nets_of_{outside.name}:Skip"
    assert main(["train", "--run-dir", "run", "--policy.backbone", name, *OPTIONS]) == 0
    assert main(["train", "--run-dir", "run", "--resume", "--env-steps", "128"]) == 0
    agent, _, stored = load_agent("run")
    assert type(agent.policy.backbone).__name__ == "Skip" and stored.config["policy"]["backbone"] == name
    package("run", "agent.tar.gz")
    with tarfile.open("agent.tar.gz") as tar:
        (own,) = (member for member in tar.getmembers() if member.name.endswith("own/backbone.py"))
        text = tar.extractfile(own).read().decode()  # type: ignore[union-attr]
    assert "from ..agent.backbones import Backbone" in text
    (outside / f"nets_of_{outside.name}.py").unlink()  # the judge does not have it
    result = play_match("agent.tar.gz", "idle", 3, 16, log_dir="logs")
    assert result.left.error in (None, NO_FACTORIES) and "Internal error" not in Path("logs/left.log").read_text()


def test_a_backbone_by_its_file(outside):
    path = file_of(outside, "nets")
    train(TrainConfig(**TINY, max_turns=20, policy=PolicyConfig(backbone=f"{path}:Skip")), outside / "run")
    assert type(load_agent(outside / "run")[0].policy.backbone).__name__ == "Skip"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--policy.backbone", "nowhere:Net"], "nowhere:Net cannot be loaded: No module named 'nowhere'"),
        (["--policy.backbone", "nowhere.py:Net"], "nowhere.py:Net cannot be loaded"),
        (["--policy.backbone", "{nets}:Nobody"], "has no 'Nobody'"),
        (["--policy.backbone", "{nets}:Stranger"], "is no class of agent.backbones.Backbone"),
        (["--policy.backbone", "nobody"], "backbone is 'nobody'; accepted are adaps, bun"),
        (["--reward.terms", "{wishes}:nothing"], "is no function"),
        (["--reward.terms", "{wishes}:short"], "The reward term short gives shape"),
        (["--algo", "{teaching}:Nobody"], "has no 'Nobody'"),
        (["--algo", "sarsa"], "algo is 'sarsa'; accepted are mppo, iql"),
    ],
)
def test_a_wrong_part_is_a_sentence(outside, capsys, options, words):
    files = {name: file_of(outside, name) for name in ("nets", "wishes", "teaching")}
    try:
        code = main(["train", "--run-dir", "run", *(option.format(**files) for option in options), *OPTIONS])
    except SystemExit as ended:  # of the options' own reader
        code = ended.code
    assert code == 2 and words in " ".join(capsys.readouterr().err.split())


def test_a_reward_term_is_added_as_it_is(outside):
    config = GameConfig(map_size=24, min_factories=1, max_factories=2)
    pool = MapPool(config, range(4))
    terms = RewardConfig(scale=0.5, own=0.5, terms=(f"{file_of(outside, 'wishes')}:busy",))
    plain = RewardConfig(scale=0.5, own=0.5)
    counted = RewardConfig(ice_dug=0, ice_given=0, ice_got=0, scale=1, heavy_built=0.1, robot_lost=-0.5, factory_lost=-0.5)
    envs = [VecEnv(config, 3, pool, opening, reward, ActionConfig(self_destruct=True), seed=1) for reward in (terms, plain, counted)]
    rng = np.random.default_rng(0)
    for env in envs:
        env.reset()
    seen = 0.0
    for _ in range(60):
        action = sample(envs[0].obs.mask[: envs[0].obs.rows], rng)
        own, usual, wanted = (env.step(action).reward for env in envs)
        assert np.allclose(own - usual, wanted, atol=1e-5)
        seen += np.abs(wanted).sum()
        for env in envs:
            env.reset_done()
    assert seen > 2


SPY = """
import numpy as np
from wrappers.rewards import FACTORY_EVENT, ROBOT_EVENT

sums = {name: np.zeros(4) for name in (*ROBOT_EVENT, *FACTORY_EVENT)}


def spy(turn):
    for name, total in sums.items():
        total += np.bincount(turn.side, turn.event(name), 4)
    return turn.event("ice_dug")
"""


def test_every_event_of_a_turn_is_the_games(outside):
    """Summed over rows and turns, an event is what the game counts for the side."""
    (outside / "spy.py").write_text(SPY)
    config = GameConfig(map_size=24, min_factories=1, max_factories=2)
    env = VecEnv(config, 2, MapPool(config, range(4)), opening, RewardConfig(terms=(f"{outside / 'spy.py'}:spy",)), seed=1)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(80):
        assert not env.step(sample(env.obs.mask[: env.obs.rows], rng)).finished
    sums = load_part(f"{outside / 'spy.py'}:sums")
    for kind, names in (("robot_total", ROBOT_EVENT), ("factory_total", FACTORY_EVENT)):
        for name, k in names.items():
            assert np.array_equal(sums[name], env.games[kind][:, :, k].ravel()), name
    assert sum(total.any() for total in sums.values()) > 5


def test_a_learner_of_ones_own(outside):
    config = TrainConfig(**TINY, max_turns=20, algo=f"{file_of(outside, 'teaching')}:Proud")
    train(config, outside / "run")
    lines = [json.loads(line) for line in (outside / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["charts/pride"] == 1 for line in lines) and config_of(checkpoint.load(outside / "run").config) == config


def test_a_run_begins_with_the_options_of_another(outside):
    assert main(["train", "--run-dir", "one", *OPTIONS, "--ppo.gamma", "0.9"]) == 0
    first = json.loads(Path("one/config.json").read_text())
    assert main(["train", "--config", "one/config.json", "--run-dir", "two", "--seed", "7"]) == 0
    assert json.loads(Path("two/config.json").read_text()) == {**first, "seed": 7}
    inside = next(Path("two").glob("step-*")) / "config.json"
    Path("some.json").write_text('{"ppo": {"gamma": 0.5}}')
    for file, gamma in ((inside, 0.9), ("some.json", 0.5)):
        run = f"run-{gamma}"
        assert main(["train", "--config", str(file), "--run-dir", run, *OPTIONS]) == 0
        assert json.loads(Path(run, "config.json").read_text())["ppo"]["gamma"] == gamma


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no object of options"),
        ('{"wings": 2}', "unknown: wings"),
        ('{"ppo": {"wings": 2}}', "unknown: wings"),
        ('{"ppo": {"gamma": 2}}', "ppo.gamma is 2"),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_of_options_is_a_sentence(outside, capsys, text, words):
    if text is not None:
        Path("some.json").write_text(text)
    assert main(["train", "--config", "some.json", "--run-dir", "run"]) == 2
    assert re.search(words, capsys.readouterr().err) and not Path("run").exists()
