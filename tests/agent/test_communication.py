"""Laws of fully independent communication and of networks that belong to groups."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn as nn

from agent.backbones import Entities, linear_flops
from agent.backbones.communication import CommunicationBackbone, CommunicationConfig
from agent.backbones.grouped import GroupedLinear, NeuronGate
from agent.policy import PolicyConfig
from training.config import PPOConfig, TrainConfig
from training.ppo.learner import PPOLearner
from training.trajectories.grouping import Parts

torch.set_num_threads(1)
WIDTH = 16


def team(sides: int = 2, slots: int = 6, seed: int = 0) -> Entities:
    """Two teams in which some seats are empty; kinds and groups at random."""
    generator = np.random.default_rng(seed)
    seats = [(side, slot) for side in range(sides) for slot in range(slots) if generator.random() < 0.8]
    side, slot = (torch.tensor(column) for column in zip(*seats))
    return Entities(side, slot, torch.from_numpy(generator.integers(0, 3, len(seats))), slot % 3, sides)


def made(**changes) -> CommunicationBackbone:
    torch.manual_seed(0)
    return CommunicationBackbone(WIDTH, CommunicationConfig(**{"slots": 8, **changes}))


def gradients(module: nn.Module) -> float:
    """Sum of the sizes of a module's gradients."""
    return sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)


def first_weights(backbone: CommunicationBackbone) -> list[nn.Parameter]:
    """Of each policy net's first layer: [H, feature, messages heard, own message]."""
    return [p for name, p in backbone.policy_net.named_parameters() if name.endswith(".0.weight")]


# ----------------------------------------------------------------------------------------------------------- primitives


@pytest.mark.parametrize("groups", [1, 3, 40])
def test_a_grouped_layer_sends_each_row_through_its_own_group(groups):
    layer = GroupedLinear(groups, 5, 4)
    rows, group = torch.randn(30, 5, requires_grad=True), torch.randint(0, groups, (30,))
    out = layer(rows, group)
    expected = torch.stack([layer.of_group[int(g)](row) for row, g in zip(rows, group)])
    torch.testing.assert_close(out, expected)
    weights = torch.randn_like(out)
    found = torch.autograd.grad((out * weights).sum(), rows)[0]
    torch.testing.assert_close(found, torch.autograd.grad((expected * weights).sum(), rows)[0])
    assert layer(rows[:0], group[:0]).shape == (0, 4)


def test_a_group_that_is_absent_gets_no_gradient():
    layer = GroupedLinear(3, 5, 4)
    layer(torch.randn(10, 5), torch.tensor([0, 2]).repeat(5)).sum().backward()
    assert [group.weight.grad is None for group in layer.of_group] == [False, True, False]


def test_a_gate_silences_neurons_and_their_gradient_for_its_group_only():
    gate = NeuronGate(2, 4)
    gate.mask[1] = torch.tensor([1.0, 0.0, 1.0, 0.0])
    rows = torch.randn(2, 4, requires_grad=True)
    out = gate(rows, torch.tensor([0, 1]))
    assert torch.equal(out[0], rows[0]) and torch.equal(out[1] != 0, gate.mask[1] > 0)
    out.sum().backward()
    assert rows.grad is not None and torch.equal(rows.grad, gate.mask)


# ------------------------------------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize("hearing", ["kind", "nearest", "ordered"])
def test_an_agents_loss_trains_its_own_networks_only(hearing):
    """Slot by slot; also the features of the others get nothing, since what is heard is detached."""
    backbone = made(sharing="slot", hearing=hearing)
    entities = team(sides=1)
    for row, slot in enumerate(entities.slot.tolist()):
        backbone.zero_grad()
        feature = torch.randn(len(entities.slot), WIDTH, requires_grad=True)
        out, _ = backbone(feature, entities)
        out[row].square().sum().backward()
        for other in range(8):
            for nets in (backbone.message_net, backbone.policy_net):
                assert (gradients(nets.of_group[other]) > 0) == (other == slot)
        assert feature.grad is not None
        assert (feature.grad.abs().sum(1) > 0).tolist() == [other == row for other in range(len(entities.slot))]


def test_the_message_net_learns_only_by_the_own_message():
    """The paper's remark: with the own message cut off its gradient is exactly zero."""
    entities, feature = team(), torch.randn(len(team().slot), WIDTH)
    backbone = made()
    out, _ = backbone(feature, entities)
    out.sum().backward()
    assert gradients(backbone.message_net) > 0
    backbone.zero_grad()
    own = backbone.config.message
    for weight in first_weights(backbone):
        weight.data[:, -own:] = 0  # the policy is deaf to itself
    out, _ = backbone(feature, entities)
    out.sum().backward()
    assert gradients(backbone.message_net) == 0 and gradients(backbone.policy_net) > 0


def test_messages_are_heard():
    """Another's feature changes what an entity does, by its message alone: without messages it changes nothing."""
    entities = team(sides=2)
    feature = torch.randn(len(entities.slot), WIDTH)
    changed = feature.clone()
    changed[0] += 1.0
    same_side = (entities.side == entities.side[0]).tolist()
    for messages, hears in (("learned", True), ("none", False)):
        backbone = made(messages=messages)
        moved = (backbone(feature, entities)[0] - backbone(changed, entities)[0]).abs().sum(1) > 1e-6
        assert moved.tolist() == [row == 0 or (hears and same) for row, same in enumerate(same_side)]


def test_frozen_messages_never_learn_not_even_through_the_features():
    backbone = made(messages="frozen")
    feature = torch.randn(len(team().slot), WIDTH, requires_grad=True)
    before = {name: value.clone() for name, value in backbone.message_net.state_dict().items()}
    optimizer = torch.optim.Adam(backbone.parameters(), lr=0.1)
    out, fields = backbone(feature, team())
    out.sum().backward()
    optimizer.step()
    assert fields["incoming"].grad_fn is None and gradients(backbone.message_net) == 0
    assert all(torch.equal(value, before[name]) for name, value in backbone.message_net.state_dict().items())
    # with the policy deaf to the features as such, nothing is left that could learn what to say
    for weight in first_weights(backbone):
        weight.data[:, :WIDTH] = 0
    feature.grad = None
    backbone(feature, team())[0].sum().backward()
    assert feature.grad is not None and feature.grad.abs().sum() == 0


def test_the_shared_variant_learns_through_what_others_hear():
    entities = team(sides=1)
    backbone = made(sharing="shared")
    feature = torch.randn(len(entities.slot), WIDTH, requires_grad=True)
    out, fields = backbone(feature, entities)
    out[0].sum().backward()
    assert fields == {} and backbone.fields == {}
    assert gradients(backbone.message_net) > 0
    assert feature.grad is not None and (feature.grad.abs().sum(1) > 0).all()
    swapped = entities._replace(slot=entities.slot.flip(0))
    assert not torch.allclose(backbone(feature, swapped)[0], out)  # it is told who it is


# -------------------------------------------------------------------------------------------------------------- hearing


@pytest.mark.parametrize("hearing", ["kind", "nearest", "ordered"])
def test_what_is_heard_equals_a_loop_over_the_others(hearing):
    backbone = made(hearing=hearing, neighbours=4)
    for seed in range(4):
        entities = team(seed=seed)
        rows = len(entities.slot)
        shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(rows))
        side, slot, kind, group = (column[shuffled] for column in entities[:4])
        entities = Entities(side, slot, kind, group, entities.sides)
        message = torch.randn(rows, 10)
        heard = backbone.hear(message, entities)
        for i in range(rows):
            others = [j for j in range(rows) if j != i and entities.side[j] == entities.side[i]]
            slot = {int(entities.slot[j]): message[j] for j in others}
            silence = torch.zeros(10)
            if hearing == "kind":
                of_kind = [[message[j] for j in others if entities.kind[j] == kind] for kind in range(3)]
                expected = [torch.stack(said).mean(0) if said else silence for said in of_kind]
            elif hearing == "ordered":
                expected = [slot.get(s, silence) for s in range(8) if s != entities.slot[i]]
            else:
                before = sorted((s for s in slot if s < entities.slot[i]), reverse=True)[:2]
                after = sorted(s for s in slot if s > entities.slot[i])[:2]
                before, after = ([*seats, None, None][:2] for seats in (before, after))
                nearest = [seat for pair in zip(before, after) for seat in pair]
                expected = [silence if seat is None else slot[seat] for seat in nearest]
            torch.testing.assert_close(heard[i], torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_ordered_hearing_refuses_larger_teams():
    entities = Entities(torch.zeros(1).long(), torch.tensor([8]), torch.zeros(1).long(), torch.zeros(1).long(), 1)
    with pytest.raises(ValueError, match="seat is 8; with hearing ordered seats must be below slots, 8"):
        made(hearing="ordered")(torch.zeros(1, WIDTH), entities)


# ----------------------------------------------------------------------------------------------- storing, saving, counts


@pytest.mark.parametrize("sharing", ["kind", "slot"])
def test_stored_messages_are_used_as_data(sharing):
    backbone, entities = made(sharing=sharing), team()
    feature = torch.randn(len(entities.slot), WIDTH)
    acted, fields = backbone(feature, entities)
    assert {name: value.shape[1] for name, value in fields.items()} == backbone.fields
    learned, _ = backbone(feature, entities, fields)
    assert torch.equal(learned, acted)  # so the ratio is exactly 1
    for p in backbone.message_net.parameters():
        p.data.add_(0.1)
    own = learned - backbone(feature, entities, fields)[0]
    both = learned - backbone(feature, entities)[0]
    assert own.abs().sum() > 0 and not torch.allclose(own, both)  # the own message is new, the others' are as they were


def test_before_the_first_step_of_training_the_ratio_is_one():
    config = TrainConfig(
        train_maps=4, device="cpu", ppo=PPOConfig(num_games=4, rollout_steps=8), policy=PolicyConfig(backbone="communication")
    )
    trainer = PPOLearner(config)
    trainer.collect()
    taught = trainer.targets()
    parts = Parts(taught.groups)
    columns = {name: torch.from_numpy(getattr(taught, name)) for name in ("advantage", "returns", "value")}
    pairs = np.arange(0, parts.pairs, 2)  # only some of the games: messages come from the store
    _, metrics = trainer.minibatch_loss(parts.part(pairs), torch.from_numpy(pairs), columns)
    assert metrics["losses/clipfrac"] == 0 and abs(metrics["losses/approx_kl"]) < 1e-8
    before = [p.detach().clone() for p in trainer.policy.backbone.message_net.parameters()]
    stats = trainer.step_iteration()
    assert any(not torch.equal(p, q) for p, q in zip(trainer.policy.backbone.message_net.parameters(), before))
    assert stats["network/message_norm"] > 0


@pytest.mark.parametrize("sharing", ["kind", "slot", "shared"])
@pytest.mark.parametrize("messages", ["learned", "frozen", "none"])
def test_the_state_dict_is_the_whole_function(sharing, messages):
    backbone, entities = made(sharing=sharing, messages=messages), team()
    torch.manual_seed(1)
    again = CommunicationBackbone(WIDTH, backbone.config)
    feature = torch.randn(len(entities.slot), WIDTH)
    again.load_state_dict(backbone.state_dict())
    assert torch.equal(again(feature, entities)[0], backbone(feature, entities)[0])


def test_stats_count_by_hand():
    stats = made(message_hidden=32).stats()
    message = [(WIDTH, 32), (32, 32), (32, 10)]
    policy = [(WIDTH + 3 * 10 + 10, WIDTH)]
    assert stats["flops"] == pytest.approx(sum(linear_flops(*shape) for shape in message + policy))
    assert stats["parameters"] == 3 * sum(i * o + o for i, o in message + policy)
    frozen = made(message_hidden=32, messages="frozen").stats()
    assert frozen["parameters"] == 3 * sum(i * o + o for i, o in policy) and frozen["flops"] == pytest.approx(stats["flops"])


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="sharing is 'all'; accepted are kind, slot, shared"):
        CommunicationConfig(sharing="all")
    with pytest.raises(ValueError, match="neighbours is 3"):
        dataclasses.replace(CommunicationConfig(), neighbours=3)
