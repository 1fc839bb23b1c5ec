"""`reproduce task`: a backbone, also of one's own, trained on a small task by one command."""

from __future__ import annotations

import json

import pytest

import main
from agent.policy import BACKBONES
from reproduce.tasks import TASKS
from reproduce.tasks.train import Train, train

OWN = """
from agent.backbones import Backbone
from agent.layers import linear, tanh


class Skip(Backbone):
    def __init__(self, width):
        super().__init__()
        self.inner = linear(width, width)

    def forward(self, feature, entities, stored=None):
        return feature + tanh(self.inner(feature)), {}
"""


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_trains_on_a_task(backbone, tmp_path, capsys):
    out = tmp_path / "run.json"
    assert main.main(["reproduce", "task", "cue", "--backbone", backbone, "--env-steps", "1600", "--out", str(out)]) == 0
    said, run = capsys.readouterr().out, json.loads(out.read_text())
    assert "0 steps: return" in said and "of random play 0.2" in said and f"parameters {run['stats']['parameters']:,.4g}" in said
    assert run["config"]["backbone"] == backbone and run["curve"]["env_steps"][-1] == 1600


def test_one_of_your_own_does_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(OWN)
    (path,) = train(Train("two_step", backbone="nets.py:Skip", width=16, env_steps=800))
    parameters = json.loads(path.read_text())["stats"]["parameters"]
    (other,) = train(Train("two_step", backbone="dense", width=16, env_steps=800))
    assert parameters == json.loads(other.read_text())["stats"]["parameters"] and path.name == "two_step-nets.py_Skip-1.json"


def test_refusals_are_sentences(capsys):
    assert main.main(["reproduce", "task", "chess"]) == 2
    assert f"There is no task 'chess'; accepted are {', '.join(TASKS)}." in capsys.readouterr().err
    assert main.main(["reproduce", "task", "spread", "--backbone", "big"]) == 2
    assert "backbone is 'big'; accepted are adaps, bun" in capsys.readouterr().err
    assert main.main(["reproduce", "task", "spread", "--backbone", "pathlib:Path"]) == 2
    assert "pathlib:Path is no class of agent.backbones.Backbone" in capsys.readouterr().err
