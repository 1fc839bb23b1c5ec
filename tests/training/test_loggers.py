"""Where curves go: settings in TensorBoard, W&B without a network, or nowhere."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # pyright: ignore[reportAttributeAccessIssue]

from main import main
from training.config import PPOConfig, TrainConfig
from training.run import loggers
from training.run.metrics import MetricsWriter, read_metrics
from training.run.sessions import command, read_sessions
from training.train import train

PPO = PPOConfig(num_games=4, rollout_steps=8, epochs=1, minibatches=2)
SMALL = TrainConfig(env_steps=64, train_maps=4, eval_every=10**9, eval_maps=1, checkpoint_every=64, max_turns=20, device="cpu", ppo=PPO)


def hyperparameters(run: Path) -> dict[str, Any]:
    """What TensorBoard's HPARAMS tab is told of a run."""
    content = EventAccumulator(str(run)).Reload().summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in values.items()}


def test_tensorboard_has_the_settings_and_no_number_besides(tmp_path: Path) -> None:
    settings = {"seed": 3, "ppo": {"gamma": 0.9}, "grouping": ("a", "b"), "compile": False, "teacher": None}
    with MetricsWriter(tmp_path, settings=settings) as writer:
        writer.write(10, {"eval/lichen": 5.0})
    told = hyperparameters(tmp_path)
    assert told == {"seed": 3.0, "ppo.gamma": 0.9, "grouping": "['a', 'b']", "compile": False, "teacher": "None"}
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in board.Scalars("eval/lichen")] == [(10, 5.0)]
    assert board.Tags()["scalars"] == ["eval/lichen"] and [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_none_writes_the_metrics_file_alone(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, logger="none", settings={"seed": 3}) as writer:
        writer.write(10, {"x": 5.0})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"] and next(read_metrics(tmp_path))["x"] == 5.0


def test_what_cannot_log_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package wandb, which is not installed: pip install wandb"):
        train(SMALL, tmp_path / "run", logger="wandb")
    with pytest.raises(ValueError, match="There is no logger 'neptune'; accepted are tensorboard, wandb, none"):
        train(SMALL, tmp_path / "run", logger="neptune")  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "run").exists()
    with pytest.raises(SystemExit):
        main(["train", "--logger", "neptune"])
    assert "neptune" in capsys.readouterr().err


def test_a_run_tells_its_logger_the_config_and_keeps_how_it_was_started(tmp_path: Path) -> None:
    train(SMALL, tmp_path / "run")
    told = hyperparameters(tmp_path / "run")
    assert told["ppo.gamma"] == 0.99 and told["env_steps"] == 64 and told["algo"] == "mppo"
    train(dataclasses.replace(SMALL, env_steps=96), tmp_path / "run", resume=True, logger="none")
    first, second = read_sessions(tmp_path / "run")
    assert first["step"] == 0 and second["step"] == 64 and first["time"] < second["time"]
    assert first["command"] == command() and sys.orig_argv[-1] in shlex.split(command()) and os.sep not in command().split()[0]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed (the extra wandb)")
def test_wandb_is_offline_and_stays_in_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server is one that listens here, to which nobody comes."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        for start in (None, 10):
            with MetricsWriter(tmp_path / "run", start, "wandb", {"ppo": {"gamma": 0.875}}) as writer:
                writer.write(10 if start is None else 20, {"losses/entropy": 1.25})
        with pytest.raises(BlockingIOError):
            server.accept()
    offline = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    name = (tmp_path / "run" / "wandb" / "id").read_text()
    assert offline and all(folder.name.endswith(name) for folder in offline)
    stored = b"".join(path.read_bytes() for folder in offline for path in folder.glob("*.wandb"))
    assert b"losses/entropy" in stored and b"1.25" in stored and b"ppo.gamma" in stored and b"0.875" in stored
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
