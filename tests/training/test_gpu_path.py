"""What the GPU path does, as far as a CPU can tell: packed transfers, bfloat16, compilation, and no waiting while acting."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from training.config import PPOConfig, TrainConfig
from training.ppo.learner import PPOLearner
from training.run import checkpoint
from training.run.transfer import Transfer
from training.train import train
from training.trajectories.grouping import Parts

torch.set_num_threads(1)

SMALL = TrainConfig(
    env_steps=64,
    train_maps=4,
    eval_every=10**9,
    eval_maps=1,
    checkpoint_every=64,
    device="cpu",
    ppo=PPOConfig(num_games=4, rollout_steps=16, epochs=2, minibatches=2),
)


def weights(trainer: PPOLearner) -> np.ndarray:
    return np.concatenate([p.detach().cpu().numpy().ravel() for p in trainer.policy.parameters()])


def test_a_packed_batch_is_the_batch():
    trainer = PPOLearner(SMALL)
    trainer.collect()
    transfer = Transfer(torch.device("cpu"))
    for _ in range(2):  # the second time over what the first left in the buffer
        plain = trainer.policy.batch(trainer.obs)
        packed = transfer.packed(plain)
        for name, before, after in zip(plain._fields, plain, packed):
            assert before.dtype == after.dtype and torch.equal(before, after), name
        trainer.collect()


def minibatch_metrics(trainer: PPOLearner) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and metrics of the whole of a fresh rollout as one minibatch."""
    trainer.collect()
    taught = trainer.targets()
    parts = Parts(taught.groups)
    columns = {name: torch.from_numpy(getattr(taught, name)) for name in ("advantage", "returns", "value")}
    pairs = np.arange(parts.pairs)
    return trainer.minibatch_loss(parts.part(pairs), torch.from_numpy(pairs), columns)


def test_bf16_learns_a_step_from_ratio_one():
    trainer = PPOLearner(dataclasses.replace(SMALL, precision="bf16"))
    # far from uniform, so that logits of order 3 are rounded to 8 bits of mantissa
    with torch.no_grad():
        trainer.policy.heads.linear.weight *= 100
    seen: list[torch.dtype] = []
    trainer.policy.heads.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    loss, metrics = minibatch_metrics(trainer)
    assert set(seen) == {torch.bfloat16}  # it is what is being tested
    assert torch.isfinite(loss)
    # a minibatch is another shape than a turn, so sums may be rounded otherwise: the ratio is 1 to about bfloat16's 2^-8
    assert abs(float(metrics["losses/old_approx_kl"])) < 4e-3
    assert float(metrics["losses/approx_kl"]) < 1e-4
    assert float(metrics["losses/clipfrac"]) < 1e-2
    before = weights(trainer)
    learned = trainer.step_iteration()
    assert np.isfinite(list(learned.values())).all()
    assert not np.array_equal(before, weights(trainer))
    assert {p.dtype for p in trainer.policy.parameters()} == {torch.float32}
    assert trainer.rollout.value.dtype == np.float32


def test_bf16_gradient_points_where_float32s_does():
    gradients = []
    for precision in ("float32", "bf16"):
        trainer = PPOLearner(SMALL)  # the same rollout for both
        trainer.collect()
        trainer.config = dataclasses.replace(SMALL, precision=precision)
        taught = trainer.targets()
        parts = Parts(taught.groups)
        columns = {name: torch.from_numpy(getattr(taught, name)) for name in ("advantage", "returns", "value")}
        pairs = np.arange(parts.pairs)
        trainer.minibatch_loss(parts.part(pairs), torch.from_numpy(pairs), columns)[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.policy.parameters() if p.grad is not None]))
    assert float(torch.cosine_similarity(gradients[0], gradients[1], dim=0)) > 0.995
    assert not torch.equal(gradients[0], gradients[1])


# what makes the host wait for a GPU: a number or a size of the result is asked for
WAITS = {"_local_scalar_dense", "nonzero", "item", "unique2", "masked_select", "is_nonzero", "equal"}


class Operations(TorchDispatchMode):
    """Names of all tensor operations that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # pyright: ignore
        self.names.add(func.overloadpacket.__name__)
        indices = args[1] if func.overloadpacket.__name__ in ("index", "index_put", "index_put_") else ()
        if any(x is not None and x.dtype == torch.bool for x in indices):
            self.names.add("nonzero")  # indexing by a mask finds its size first
        return func(*args, **(kwargs or {}))


def test_the_watch_for_waiting_sees_it():
    with Operations() as seen:
        x = torch.arange(3)
        x[x > 1].sum().item()
    assert {"nonzero", "_local_scalar_dense"} <= seen.names


def test_acting_never_waits_for_the_device_but_for_the_actions():
    trainer = PPOLearner(SMALL)
    trainer.rollout.begin()
    batch = trainer.transfer.packed(trainer.policy.batch(trainer.obs))
    with torch.no_grad(), Operations() as seen:
        logits, value, _ = trainer.forward(batch)
        action, log_prob = trainer.policy.distribution(logits, batch.mask).sample(trainer.generator)
        trainer.rollout.add(trainer.obs, batch, value, action, log_prob)
    assert len(seen.names) > 20
    assert not seen.names & WAITS


@pytest.mark.slow
def test_a_compiled_policy_computes_the_same_and_its_checkpoint_has_plain_names(tmp_path):
    plain, compiled = (PPOLearner(dataclasses.replace(SMALL, compile=flag)) for flag in (False, True))
    batch = plain.policy.batch(plain.obs)
    for one, other in zip(plain.forward(batch)[:2], compiled.forward(batch)[:2]):
        assert torch.allclose(one, other, atol=1e-5)
    train(dataclasses.replace(SMALL, compile=True), tmp_path / "run")
    stored = checkpoint.load(tmp_path / "run")
    assert set(stored.policy_state) == set(plain.policy.state_dict())
    resumed = PPOLearner(SMALL)
    resumed.policy.load_state_dict(stored.policy_state)
    resumed.load_state(stored.trainer_state)
    assert np.isfinite(list(resumed.step_iteration().values())).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_learns_and_acting_never_waits():
    trainer = PPOLearner(dataclasses.replace(SMALL, device="cuda", precision="bf16"))
    assert np.isfinite(list(trainer.step_iteration().values())).all()
    trainer.rollout.begin()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.no_grad():
            batch = trainer.transfer(trainer.policy.batch(trainer.obs))
            logits, value, _ = trainer.forward(batch)
            action, log_prob = trainer.policy.distribution(logits, batch.mask).sample(trainer.generator)
            trainer.rollout.add(trainer.obs, batch, value, action, log_prob)
    finally:
        torch.cuda.set_sync_debug_mode("default")
