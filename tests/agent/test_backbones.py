"""What every backbone keeps, whatever it does: exact resume, equal ranks, ratio one, packing, and its own checkpoints only.

As a script (started by torchrun) this file is what one rank does for the law of equal ranks.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.backbones.bun import BUNConfig
from agent.compact import compact, load_play_state, play_state, training_only, whole
from agent.policy import BACKBONES, Policy, PolicyConfig
from agent.sparse import SparseConfig
from tests.training.test_parallel import ENVIRONMENT, ROOT, TORCHRUN
from training.config import PPOConfig, TrainConfig
from training.ppo.learner import PPOLearner
from training.run import checkpoint, parallel
from training.train import full_config
from training.trajectories.grouping import Parts
from training.trajectories.rollout import join

torch.set_num_threads(1)

# connections change at every iteration, in four of which the training is done
BUN = BUNConfig(hidden=8, budget=0.01, interval=4, window=3, stop=1.0)
SPARSE = SparseConfig(interval=4, window=3, stop=1.0)
VARIANTS = {name: PolicyConfig(backbone=name, width=32, channels=4, bun=BUN, sparse=SPARSE) for name in BACKBONES}
VARIANTS["bun over slots"] = dataclasses.replace(VARIANTS["bun"], bun=dataclasses.replace(BUN, agents="slots", seats=14))
VARIANTS["sparse"] = dataclasses.replace(VARIANTS["dense"], sparsity=0.9)
VARIANTS["sparse by set"] = dataclasses.replace(VARIANTS["sparse"], sparse=dataclasses.replace(SPARSE, method="set"))
VARIANTS["sparse bun"] = dataclasses.replace(VARIANTS["bun"], sparsity=0.8)
SMALL = TrainConfig(env_steps=128, train_maps=4, device="cpu", ppo=PPOConfig(num_games=4, rollout_steps=8, epochs=2, minibatches=2))
CHANGING = {
    "bun": "network/edges",
    "bun over slots": "network/edges",
    "sparse": "network/topology_changes",
    "sparse by set": "network/topology_changes",
}


def trainer_of(variant: str) -> PPOLearner:
    return PPOLearner(dataclasses.replace(SMALL, policy=VARIANTS[variant]))


def check_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.fixture(scope="module", params=list(VARIANTS))
def trained(request, tmp_path_factory) -> tuple[str, PPOLearner, Path, list[dict[str, float]]]:
    """A variant, its trainer after four iterations, its checkpoint after two, and its metrics."""
    trainer = trainer_of(request.param)
    folder = tmp_path_factory.mktemp("backbone") / "two"
    metrics = []
    for iteration in range(4):
        metrics.append(trainer.step_iteration())
        if iteration == 1:
            checkpoint.save(folder, full_config(trainer), trainer.policy.state_dict(), trainer.state())
    return request.param, trainer, folder, metrics


def test_two_iterations_and_two_more_are_four(trained):
    variant, trainer, folder, _ = trained
    stored = checkpoint.load(folder)
    again = trainer_of(variant)
    again.policy.load_state_dict(stored.policy_state)
    again.load_state(stored.trainer_state)
    for _ in range(2):
        again.step_iteration()
    check_equal(trainer.policy.state_dict(), again.policy.state_dict())
    for one, other in zip(trainer.optimizer.state_dict()["state"].values(), again.optimizer.state_dict()["state"].values(), strict=True):
        check_equal(one, other)


def test_metrics_tell_what_the_network_is(trained):
    variant, trainer, _, metrics = trained
    for line in metrics:
        assert np.isfinite(list(line.values())).all()
        assert {"network/parameters", "network/density", "network/flops", "network/policy_parameters"} <= line.keys()
        assert 0 < line["network/density"] <= 1 and line["network/flops"] > 0
    if variant in CHANGING:
        counts = [line[CHANGING[variant]] for line in metrics]
        assert counts == sorted(counts) and counts[0] < counts[-1]
    if "sparse" in variant:
        dense = trainer_of(variant.replace("sparse by set", "dense").replace("sparse bun", "bun").replace("sparse", "dense"))
        assert metrics[-1]["network/policy_parameters"] < 0.6 * dense.policy.stats()["policy_parameters"]


def test_absent_weights_are_still_zero(trained):
    _, trainer, _, _ = trained
    for layer in trainer.policy.modules():
        weight = getattr(layer, "weight", None)
        if weight is not None and hasattr(layer, "mask"):
            assert bool((weight[~layer.mask] == 0).all())  # pyright: ignore[reportIndexIssue, reportOptionalOperand]


def test_before_the_first_step_of_an_epoch_the_ratio_is_one(trained):
    _, trainer, _, _ = trained
    state = {name: tensor.clone() for name, tensor in trainer.policy.state_dict().items()}
    trainer.collect()
    taught = trainer.targets()
    parts = Parts(taught.groups)
    columns = {name: torch.from_numpy(getattr(taught, name)) for name in ("advantage", "returns", "value")}
    pairs = np.arange(parts.pairs)
    _, metrics = trainer.minibatch_loss(parts.part(pairs), torch.from_numpy(pairs), columns)
    assert metrics["losses/clipfrac"] == 0 and abs(metrics["losses/approx_kl"]) < 1e-8
    check_equal(state, trainer.policy.state_dict())  # acting and looking change nothing


def test_packed_for_playing_it_is_the_same_function(trained):
    _, trainer, _, _ = trained
    packed = compact(play_state(trainer.policy))
    again = Policy.from_config(trainer.policy.full_config())
    load_play_state(again, whole(packed))
    batch = trainer.policy.batch(trainer.obs)
    with torch.no_grad():
        for mine, theirs in zip(trainer.policy(batch)[:2], again(batch)[:2]):
            assert torch.equal(mine, theirs)
    left_out = training_only(trainer.policy)
    assert left_out <= set(trainer.policy.state_dict()) and not left_out & set(whole(packed))
    dense = sum(tensor.numel() for tensor in trainer.policy.parameters()) * 4
    size = sum(array.nbytes for array in packed.values())
    present = trainer.policy.stats()["policy_parameters"] * 4
    assert size <= present + dense / 32 * 2.1 + 4096  # one bit a weight for its place, and for a mask that playing needs
    with pytest.raises(ValueError, match="another policy's: missing are"):
        load_play_state(again, {})


def test_a_checkpoint_of_one_backbone_is_refused_by_the_others(trained):
    variant, trainer, _, _ = trained
    state, sizes, own = trainer.policy.state_dict(), trainer.policy.sizes, VARIANTS[variant]
    for config in VARIANTS.values():
        if config.backbone == own.backbone and bool(config.sparsity) == bool(own.sparsity):
            continue
        policy = Policy(config, sizes)
        with pytest.raises(ValueError, match=f"not those of a policy with backbone {config.backbone} and sparsity") as caught:
            policy.load_state_dict(state)
        assert len(str(caught.value)) < 300


def test_experience_links_each_row_to_the_same_entity_one_turn_later():
    trainer = trainer_of("dense")
    trainer.env.limit[:2] = 5  # two games are cut off
    trainer.collect()
    rollout = trainer.rollout
    rows, experience = rollout.rows(), rollout.experience()
    count = len(experience.next)
    assert count == rollout.acted and experience.feature.shape == (count, rollout.width) and experience.action.shape == (count, 4)
    keys = {(int(rows.step[i]), int(rows.side[i]), int(rows.slot[i]), int(rows.ident[i])): i for i in range(count)}
    ends = 0
    for (step, side, slot, ident), i in keys.items():
        later = keys.get((step + 1, side, slot, ident), -1)
        if step + 1 < rollout.steps and rollout.new_game[step + 1, side // 2]:
            later = -1
            ends += 1
        assert experience.next[i] == later
        assert (experience.slot[i], experience.kind[i], experience.group[i]) == (rows.slot[i], rows.kind[i], rows.home[i])
    assert ends > 0 and (experience.next >= 0).any()
    twice = join([experience, experience])
    assert len(twice.feature) == 2 * count
    assert np.array_equal(twice.next[count:][experience.next >= 0], experience.next[experience.next >= 0] + count)
    assert (twice.next[count:][experience.next < 0] == -1).all()


# ----------------------------------------------------------------------------------------------------------- equal ranks


def train_as_rank(folder: Path) -> None:
    """What each rank does: trains every variant, its ranks compared after each iteration, and saves what it came to."""
    with parallel.group():
        for variant in VARIANTS:
            trainer = trainer_of(variant)
            for _ in range(2):
                trainer.step_iteration()
                parallel.check_equal(trainer.policy)
            torch.save(trainer.policy.state_dict(), folder / f"{variant}-{parallel.rank()}.pt")


@pytest.mark.slow
def test_two_ranks_choose_the_same_connections_and_clusters(tmp_path):
    done = subprocess.run([*TORCHRUN, __file__, str(tmp_path)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for variant in VARIANTS:
        first, second = (torch.load(tmp_path / f"{variant}-{rank}.pt") for rank in (0, 1))
        check_equal(first, second)
        start = trainer_of(variant).policy.state_dict()
        masks = [name for name in start if name.endswith(".mask") and start[name].dtype == torch.bool]
        assert any(not torch.equal(first[name], start[name]) for name in masks) == ("bun" in variant or "sparse" in variant)


if __name__ == "__main__":
    train_as_rank(Path(sys.argv[1]))
