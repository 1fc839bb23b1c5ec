"""The PPO loss: against numpy, at epoch 0, and on a world of independent entities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Categorical

from training.ppo.loss import explained_variance, ppo_loss
from training.trajectories.advantages import Targets, targets
from training.trajectories.grouping import Grouping, Parts, Rows
from training.trajectories.switchboard import PUBLISHED_ROWS, Switchboard, collect_part

CLIP, VF, ENT = 0.2, 0.5, 0.01
NAMES = ("new_log_prob", "old_log_prob", "advantage", "new_value", "old_value", "returns", "entropy")


def random_batch(seed: int = 0, count: int = 200) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    batch = {name: torch.randn(count, generator=generator, dtype=torch.float64) for name in NAMES}
    batch["new_log_prob"] = batch["old_log_prob"] + 0.3 * torch.randn(count, generator=generator, dtype=torch.float64)
    return batch


def loss_of(batch: dict[str, torch.Tensor], clip_value_loss: bool = True) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return ppo_loss(**batch, clip_coef=CLIP, clip_value_loss=clip_value_loss, vf_coef=VF, ent_coef=ENT)


@pytest.mark.parametrize("clip_value_loss", [False, True])
def test_equals_the_formula_pair_by_pair(clip_value_loss: bool) -> None:
    batch = random_batch()
    loss, metrics = loss_of(batch, clip_value_loss)
    policy, value, kl, clipped = [], [], [], []
    for new, old, advantage, v, v_old, target, _ in zip(*(batch[name].tolist() for name in NAMES), strict=True):
        ratio = np.exp(new - old)
        policy.append(-min(ratio * advantage, min(max(ratio, 1 - CLIP), 1 + CLIP) * advantage))
        near = v_old + min(max(v - v_old, -CLIP), CLIP)
        value.append(0.5 * max((v - target) ** 2, (near - target) ** 2 if clip_value_loss else 0.0))
        kl.append(ratio - 1 - np.log(ratio))
        clipped.append(abs(ratio - 1) > CLIP)
    entropy = batch["entropy"].mean().item()
    assert metrics["losses/policy_loss"].item() == pytest.approx(np.mean(policy))
    assert metrics["losses/value_loss"].item() == pytest.approx(np.mean(value))
    assert metrics["losses/entropy"].item() == pytest.approx(entropy)
    assert metrics["losses/approx_kl"].item() == pytest.approx(np.mean(kl))
    assert metrics["losses/clipfrac"].item() == pytest.approx(np.mean(clipped))
    assert loss.item() == pytest.approx(np.mean(policy) - ENT * entropy + VF * np.mean(value))


def test_what_could_not_choose_counts_in_the_loss_and_not_in_what_is_told_of_the_policy() -> None:
    batch = random_batch()
    chooses = torch.rand(200, generator=torch.Generator().manual_seed(1)) < 0.3
    for name in ("new_log_prob", "old_log_prob", "entropy"):
        batch[name] = batch[name] * chooses  # one legal choice: probability 1, whatever is learned
    options = {"clip_coef": CLIP, "clip_value_loss": False, "vf_coef": VF, "ent_coef": ENT}
    loss, metrics = ppo_loss(**batch, **options, chooses=chooses)
    everybody, diluted = ppo_loss(**batch, **options)
    _, choosers = ppo_loss(**{name: column[chooses] for name, column in batch.items()}, **options)
    assert loss == everybody
    for name in ("entropy", "approx_kl", "old_approx_kl", "clipfrac"):
        assert metrics[f"losses/{name}"].item() == pytest.approx(choosers[f"losses/{name}"].item())
        assert metrics[f"losses/{name}"].item() == pytest.approx(diluted[f"losses/{name}"].item() * 200 / int(chooses.sum()))
    for name in ("policy_loss", "value_loss"):
        assert metrics[f"losses/{name}"] == diluted[f"losses/{name}"]
    none = ppo_loss(**batch, **options, chooses=torch.zeros(200, dtype=torch.bool))[1]
    assert none["losses/approx_kl"] == none["losses/entropy"] == 0


def test_the_gradient_raises_the_probability_of_good_actions_and_entropy() -> None:
    batch = random_batch()
    batch["new_log_prob"] = batch["old_log_prob"].clone().requires_grad_()
    batch["entropy"].requires_grad_()
    batch["new_value"].requires_grad_()
    loss_of(batch, clip_value_loss=False)[0].backward()
    gradients = [batch[name].grad for name in ("new_log_prob", "entropy", "new_value")]
    assert all(gradient is not None for gradient in gradients)
    for_log_prob, for_entropy, for_value = (gradient.sign() for gradient in gradients if gradient is not None)
    assert (for_log_prob == -batch["advantage"].sign()).all()
    assert (for_entropy == -1).all()
    assert (for_value == (batch["new_value"] - batch["returns"]).sign()).all()


def test_clipped_pairs_teach_the_policy_nothing() -> None:
    old = torch.zeros(4)
    new = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    rest = torch.zeros(4)
    advantage = torch.tensor([1.0, -1.0, -1.0, 1.0])  # the first two moved as far as they may already
    ppo_loss(new, old, advantage, rest, rest, rest, rest, CLIP, True, VF, ENT)[0].backward()
    assert new.grad is not None
    assert (new.grad != 0).tolist() == [False, False, True, True]


class Independent(nn.Module):
    """A policy and value for every entity, none of whose parameters are shared: entity `i` reads rows `i` only."""

    def __init__(self, entities: int, width: int = 5) -> None:
        super().__init__()
        self.logits = nn.Parameter(0.5 * torch.randn(entities, width, 3, dtype=torch.float64))
        self.value = nn.Parameter(0.5 * torch.randn(entities, width, dtype=torch.float64))

    def forward(self, feature: torch.Tensor, entity: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        logits = torch.einsum("rw,rwa->ra", feature, self.logits[entity])
        return Categorical(logits=logits), (feature * self.value[entity]).sum(-1)


class Toy:
    """A rollout of one side with three entities that are born and die at different steps."""

    LIVES = ((0, 12), (3, 9), (5, 13))  # first step, first step without it; the rollout has 12 steps
    STEPS = 12

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.net = Independent(len(self.LIVES))
        pairs = [(t, i) for t in range(self.STEPS + 1) for i, (born, gone) in enumerate(self.LIVES) if born <= t < gone]
        step, ident = np.array(pairs, np.int32).T
        zero = np.zeros(len(pairs), np.int32)
        self.rows = Rows(step, zero, ident + 10, zero + 1, zero, ident, zero)
        self.entity = torch.from_numpy(ident.astype(np.int64))
        self.feature = torch.randn(len(pairs), 5, dtype=torch.float64)
        with torch.no_grad():
            actions, value = self.net(self.feature, self.entity)
            self.action = actions.sample()
            self.old_log_prob = actions.log_prob(self.action)
        self.value = value.numpy()
        self.reward = np.random.default_rng(0).standard_normal(len(pairs))

    def targets(self, grouping: Grouping, switches: Switchboard) -> Targets:
        no = np.zeros((self.STEPS, 1), bool)
        cut = np.zeros(len(self.reward))
        restart = np.zeros((self.STEPS + 1, 1), bool)
        return targets(self.rows, self.reward, self.value, cut, restart, no, no, grouping, switches, 48, 0.9, 0.8)

    def loss(self, grouping: Grouping, switches: Switchboard) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of the whole rollout as one minibatch."""
        result = self.targets(grouping, switches)
        part = Parts(result.groups).part(np.random.default_rng(1).permutation(self.STEPS))
        actions, value = self.net(self.feature[part.rows], self.entity[part.rows])

        def of(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array)[part.groups].double()

        return ppo_loss(
            collect_part(actions.log_prob(self.action[part.rows]), part, switches.log_prob),
            collect_part(self.old_log_prob[part.rows], part, switches.log_prob),
            of(result.advantage),
            collect_part(value, part, switches.value),
            of(result.value),
            of(result.returns),
            collect_part(actions.entropy(), part, switches.entropy),
            *(CLIP, True, VF, ENT),
        )

    def disturb(self) -> None:
        """Move the parameters, as epochs do, so that ratios differ from 1 and some are clipped."""
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter += 0.15 * torch.randn_like(parameter)


@pytest.mark.parametrize("row", list(PUBLISHED_ROWS))
def test_before_the_first_step_every_ratio_is_one(row: str) -> None:
    """Known defect 4; whatever is grouped or taken globally."""
    _, metrics = Toy().loss(*PUBLISHED_ROWS[row])
    assert metrics["losses/clipfrac"].item() == 0.0
    assert metrics["losses/approx_kl"].item() == pytest.approx(0.0, abs=1e-12)
    assert metrics["losses/old_approx_kl"].item() == pytest.approx(0.0, abs=1e-12)


def single_agent_loss(toy: Toy, entity: int) -> torch.Tensor:
    """PPO for one entity, written out: its own GAE, its own loss; nothing of `training` is used."""
    rows = torch.nonzero(toy.entity == entity).squeeze(1)
    born, gone = toy.LIVES[entity]
    acted = rows[: min(gone, toy.STEPS) - born]
    value = [*toy.value[rows.numpy()], 0.0] if gone <= toy.STEPS else list(toy.value[rows.numpy()])
    reward = toy.reward[rows.numpy()]
    advantage, later = np.zeros(len(acted)), 0.0
    for i in reversed(range(len(acted))):
        later = reward[i] + 0.9 * value[i + 1] - value[i] + 0.9 * 0.8 * later
        advantage[i] = later
    actions, new_value = toy.net(toy.feature[acted], toy.entity[acted])
    gain = torch.from_numpy(advantage)
    old_value = torch.from_numpy(toy.value)[acted]
    ratio = (actions.log_prob(toy.action[acted]) - toy.old_log_prob[acted]).exp()
    policy = -torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
    near = old_value + (new_value - old_value).clamp(-CLIP, CLIP)
    aim = gain + old_value
    return policy - ENT * actions.entropy().mean() + VF * 0.5 * torch.maximum((new_value - aim) ** 2, (near - aim) ** 2).mean()


def test_separated_ppo_is_ppo_once_for_each_entity() -> None:
    """On independent entities the separated loss is the mean of their own losses, each weighted by the steps it lived; so
    every entity's gradient is that of PPO run for it alone."""
    toy = Toy()
    toy.disturb()
    loss, metrics = toy.loss(Grouping(), Switchboard())
    assert metrics["losses/clipfrac"].item() > 0.05  # clipping is at work
    parameters = tuple(toy.net.parameters())
    together = torch.autograd.grad(loss, parameters)
    lived = np.array([min(gone, toy.STEPS) - born for born, gone in toy.LIVES])
    alone = [torch.autograd.grad(single_agent_loss(toy, entity), parameters) for entity in range(len(lived))]
    for index, gradient in enumerate(together):
        expected = sum(weight * gradients[index] for weight, gradients in zip(lived / lived.sum(), alone, strict=True))
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)
    # and not so for one trajectory: there the entities' credit is mixed
    mixed = torch.autograd.grad(toy.loss(Grouping("all", "all"), Switchboard())[0], parameters)
    assert not torch.allclose(mixed[0], together[0], rtol=0.05)


def test_only_what_acted_enters_the_loss() -> None:
    """Known defect 3: step T, dead entities and the empty rows of a global done have no say."""
    toy = Toy()
    toy.disturb()
    for switches in (Switchboard(), Switchboard(done="global")):
        result = toy.targets(Grouping(), switches)
        part = Parts(result.groups).part(np.arange(toy.STEPS))
        assert len(part.groups) == sum(min(gone, toy.STEPS) - born for born, gone in toy.LIVES)
        assert result.groups.size[part.groups.numpy()].min() == 1
        assert result.groups.step[part.groups.numpy()].max() == toy.STEPS - 1
        before = toy.loss(Grouping(), switches)[0].item()
        for array in (result.advantage, result.value, result.returns):
            array[~result.groups.active] = 1e9
        chosen = [torch.from_numpy(array)[part.groups] for array in (result.advantage, result.value, result.returns)]
        assert max(values.abs().max().item() for values in chosen) < 1e3
        assert before == pytest.approx(toy.loss(Grouping(), Switchboard())[0].item())


def test_explained_variance() -> None:
    torch.manual_seed(0)
    returns = torch.randn(100)
    assert explained_variance(returns + 5, returns).item() == pytest.approx(1.0, abs=1e-5)  # an offset does not count
    assert explained_variance(torch.zeros(100), returns).item() == pytest.approx(0.0)
    assert explained_variance(-returns, returns).item() == pytest.approx(-3.0, abs=1e-5)
    assert torch.isnan(explained_variance(returns, torch.ones(100)))


def test_errors() -> None:
    batch = random_batch()
    batch["entropy"] = batch["entropy"][:-1]
    with pytest.raises(ValueError, match=r"entropy has shape \(199,\); expected is \[200\]"):
        loss_of(batch)
    with pytest.raises(ValueError, match="no active group"):
        loss_of({name: torch.zeros(0) for name in NAMES})
