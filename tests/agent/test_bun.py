"""The bottom-up network: independent agents at first, connections where they help, and what they cost."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn as nn
from torch import Tensor

from agent.backbones import Entities, Experience, linear_flops
from agent.backbones.bun import BlockLinear, BUNBackbone, BUNConfig, TeamLinear

torch.set_num_threads(1)

WIDTH, SEATS, TEAMS = 6, 4, 3
SLOTS = BUNConfig(agents="slots", seats=SEATS, hidden=8, shared=False, interval=2, window=2, budget=0.1, stop=1.0)


def no_experience() -> Experience:
    raise AssertionError("BUN asks for no experience")


def everyone(teams: int = TEAMS, seats: int = SEATS) -> Entities:
    """Every seat of every team taken."""
    side, slot = torch.arange(teams * seats) // seats, torch.arange(teams * seats) % seats
    return Entities(side, slot, torch.zeros_like(slot), slot, teams)


def make(config: BUNConfig = SLOTS, width: int = WIDTH, seed: int = 0) -> BUNBackbone:
    torch.manual_seed(seed)
    return BUNBackbone(width, config)


def influence(bun: BUNBackbone, entities: Entities, width: int = WIDTH) -> Tensor:
    """[M, M] bool, whether row i's output depends on row j's feature."""
    feature = torch.randn(len(entities.slot), width, requires_grad=True)
    out, _ = bun(feature, entities)
    rows = []
    for i in range(len(out)):
        (gradient,) = torch.autograd.grad(out[i].square().sum(), feature, retain_graph=True)
        rows.append((gradient != 0).any(1))
    return torch.stack(rows)


def grow(bun: BUNBackbone, steps: int, progress: float, seed: int = 0) -> list[list[Tensor]]:
    """Gradient steps on a random target, then one growth; returns the whole gradients of the layers that grow."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(bun.parameters(), 1e-3)
    seen = []
    for _ in range(steps):
        feature, target = torch.randn(TEAMS * SEATS, WIDTH, generator=generator), torch.randn(TEAMS * SEATS, WIDTH, generator=generator)
        optimizer.zero_grad()
        (bun(feature, everyone())[0] - target).square().sum().backward()
        seen.append([weight.grad.clone() for weight in bun.topology.weights if weight.grad is not None])
        bun.after_backward()
        optimizer.step()
    bun.between_iterations(progress, optimizer, no_experience)
    return seen


@pytest.mark.parametrize("shared", [False, True])
def test_before_growth_no_agent_depends_on_another(shared):
    bun = make(dataclasses.replace(SLOTS, shared=shared))
    assert torch.equal(influence(bun, everyone()), torch.eye(TEAMS * SEATS, dtype=torch.bool))
    bun = make(dataclasses.replace(SLOTS, shared=shared, connections="blocks"))
    assert torch.equal(influence(bun, everyone()), torch.eye(TEAMS * SEATS, dtype=torch.bool))


def test_a_dense_team_depends_on_all_of_it_and_on_no_other_team():
    same_team = everyone().side[:, None] == everyone().side
    assert torch.equal(influence(make(dataclasses.replace(SLOTS, connections="dense")), everyone()), same_team)


def test_each_block_starts_by_its_own_fan_in():
    for layer in (TeamLinear(5, 16, 8, False), BlockLinear(5, 16, 8)):
        blocks = layer.blocks().permute(2, 0, 1) if isinstance(layer, TeamLinear) else layer.weight
        for block in blocks:  # orthogonal rows of length 2 ** 0.5, whatever the number of agents
            torch.testing.assert_close(block @ block.T, 2 * torch.eye(8), atol=1e-5, rtol=0)


def test_growing_changes_no_output_and_later_steps_do_connect():
    bun = make()
    feature = torch.randn(TEAMS * SEATS, WIDTH)
    grow(bun, 1, 0.0)
    before = bun(feature, everyone())[0]
    bun.between_iterations(0.0, None, no_experience)
    grow(bun, 1, 0.5, seed=1)
    bun_before_growth = make()
    grow(bun_before_growth, 1, 0.0)
    grow_steps_only(bun_before_growth, seed=1)
    assert int(bun.edges().sum()) > 0
    torch.testing.assert_close(bun(feature, everyone())[0], bun_before_growth(feature, everyone())[0], atol=1e-6, rtol=0)
    assert not torch.equal(before, bun(feature, everyone())[0])
    assert torch.equal(influence(bun, everyone()), torch.eye(TEAMS * SEATS, dtype=torch.bool))
    grow(bun, 1, 0.5, seed=2)
    reached = influence(bun, everyone()).view(TEAMS, SEATS, TEAMS, SEATS)
    for team in range(TEAMS):
        assert torch.equal(reached[team, :, team] & ~torch.eye(SEATS, dtype=torch.bool), bun.edges() > 0)
        assert not reached[team, :, [other for other in range(TEAMS) if other != team]].any()


def grow_steps_only(bun: BUNBackbone, seed: int) -> None:
    """A gradient step as `grow` makes it, without the growth after it."""
    between, bun.between_iterations = bun.between_iterations, lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]
    grow(bun, 1, 0.0, seed)
    bun.between_iterations = between  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("grow_in", ["input", "all"])
def test_the_budget_is_kept_and_what_is_chosen_equals_a_search(grow_in):
    bun = make(dataclasses.replace(SLOTS, grow_in=grow_in))
    places = SEATS * (SEATS - 1) * WIDTH * 8 * (1 if grow_in == "input" else 2)
    budget = round(0.1 * places)
    assert bun.stats()["budget"] == budget
    for step, progress in enumerate((0.1, 0.3, 0.6, 1.0, 1.0)):
        masks = [mask.clone() for mask in bun.topology.masks]
        gradients = grow(bun, 2, progress, seed=step)
        sums = [sum(parts).abs() for parts in zip(*gradients)]  # pyright: ignore[reportAttributeAccessIssue]
        absent = [(float(s[place]), i, place) for i, (s, m) in enumerate(zip(sums, masks)) for place in map(tuple, (~m).nonzero().tolist())]
        had = int(bun.stats()["edges"]) if progress == 1.0 and step == 4 else None
        due = int(budget * progress + 1e-9) - (sum(int(m.sum()) for m in masks) - bun.topology.start_count)
        for _, i, place in sorted(absent, reverse=True)[:due] if step < 4 else []:
            masks[i][place] = True
        assert all(torch.equal(a, b) for a, b in zip(masks, bun.topology.masks))
        assert int(bun.edges().sum()) == int(budget * progress + 1e-9) <= budget and had in (None, budget)


def test_random_growth_spends_the_same_budget_elsewhere():
    made = {
        by: make(BUNConfig(agents="slots", seats=4, hidden=8, interval=2, window=2, budget=0.1, grow_by=by))
        for by in ("gradient", "random")
    }
    for bun in made.values():
        for step in range(4):
            grow(bun, 2, step / 4, seed=step)
    one, other = (bun.team[0].mask for bun in made.values())
    assert isinstance(one, Tensor) and isinstance(other, Tensor)
    assert int(one.sum()) == int(other.sum()) > 4 * 8 * WIDTH and not torch.equal(one, other)
    assert made["random"].stats()["flops"] == made["gradient"].stats()["flops"]


def test_all_three_ways_to_compute_a_layer_agree():
    """Blocks alone, blocks and single connections, and the whole product; values and gradients of what is present."""
    torch.manual_seed(1)
    for share in (0.0, 0.005, 0.3):
        layer = TeamLinear(SEATS, 16, 8, False)
        layer.mask |= torch.rand_like(layer.weight) < share
        with torch.no_grad():
            layer.weight.copy_(torch.randn_like(layer.weight) * layer.mask)
        layer.told(False)
        x = torch.randn(5, SEATS, 16, requires_grad=True)
        results = []
        for listening in (False, True):
            layer.told(listening)
            y = layer(x)
            gradients = torch.autograd.grad(y.sin().sum(), (x, layer.weight, layer.bias))
            results.append((y, gradients[0], gradients[1] * layer.mask, gradients[2]))
        for one, other in zip(*results):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(results[0][0].flatten(1), x.flatten(1) @ layer.weight.T + layer.bias, atol=1e-5, rtol=1e-5)


def test_groups_share_one_agent_and_empty_seats_are_zeros():
    """Two teams; a group is its head and its members' mean. Who has no seat has the shared part only."""
    config = BUNConfig(seats=3, hidden=8, connections="dense")
    bun = make(config)
    side = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    slot = torch.tensor([0, 2, 10, 11, 1, 7, 12])
    group = torch.tensor([0, 2, 0, 0, 1, 7, 2])
    feature = torch.randn(7, WIDTH)
    out, fields = bun(feature, Entities(side, slot, (slot > 9).long(), group, 2))
    assert fields == {}
    x = torch.zeros(2, 3, 2 * WIDTH)
    x[0, 0], x[0, 2, :WIDTH] = torch.cat([feature[0], (feature[2] + feature[3]) / 2]), feature[1]
    x[1, 1, :WIDTH], x[1, 2, WIDTH:] = feature[4], feature[6]  # the head of group 2 of team 1 is gone
    team = bun.team[1](bun.team[0](x).tanh())
    seat = [team[0, 0], team[0, 2], team[0, 0], team[0, 0], team[1, 1], torch.zeros(WIDTH), team[1, 2]]
    assert bun.shared is not None
    torch.testing.assert_close(out, (torch.stack(seat) + bun.shared(feature)).tanh())


def test_the_order_of_rows_and_other_teams_do_not_matter():
    bun = make(BUNConfig(seats=SEATS, hidden=8, connections="dense"))
    entities, feature = everyone(), torch.randn(TEAMS * SEATS, WIDTH)
    order = torch.randperm(TEAMS * SEATS)
    shuffled = Entities(entities.side[order], entities.slot[order], entities.kind, entities.group[order], TEAMS)
    torch.testing.assert_close(bun(feature[order], shuffled)[0], bun(feature, entities)[0][order])
    alone = Entities._make([*(column[:SEATS] for column in entities[:4]), 1])
    torch.testing.assert_close(bun(feature[:SEATS], alone)[0], bun(feature, entities)[0][:SEATS])


def test_flops_follow_what_is_present():
    config = dataclasses.replace(SLOTS, shared=True)
    stats = make(config).stats()
    blocks = linear_flops(SEATS * WIDTH, SEATS * 8) / SEATS**2 + linear_flops(SEATS * 8, SEATS * WIDTH) / SEATS**2
    shared = (2 * WIDTH - 1) * WIDTH
    assert stats["flops"] == pytest.approx(blocks + shared) and stats["density"] == pytest.approx(1 / SEATS)
    assert stats["flops_dense_team"] == pytest.approx(SEATS * blocks + shared)
    assert stats["parameters"] == SEATS * (WIDTH * 8 + 8 + 8 * WIDTH + WIDTH) + WIDTH * WIDTH + WIDTH
    bun = make(config)
    grow(bun, 2, 1.0)
    grown = bun.stats()
    assert grown["edges"] == grown["budget"] == grown["parameters"] - stats["parameters"]
    assert grown["flops"] - stats["flops"] == pytest.approx(grown["edges"] * (2 * SEATS * WIDTH - 1) / (SEATS * WIDTH) / SEATS)
    dense = make(dataclasses.replace(config, connections="dense")).stats()
    assert dense["flops"] == pytest.approx(dense["flops_dense_team"]) == pytest.approx(stats["flops_dense_team"])
    # the default on the game: below a quarter of the dense team network, budget used up
    assert (game := make(BUNConfig(), 128).stats())["flops"] * 1.1 < 0.25 * game["flops_dense_team"]


def cue_task(agents: int, generator: torch.Generator, teams: int, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Each agent sees a cue of its own, and is to tell those of the agents that it depends on; [B N, H] both."""
    cue = torch.randint(0, 2, (teams, agents, 1), generator=generator).float() * 2 - 1
    seen = torch.cat([cue, torch.randn(teams, agents, 5, generator=generator)], 2)
    return seen.flatten(0, 1), torch.einsum("ij,bjc->bic", wanted, cue).flatten(0, 1)


def found_in_cue_task(edges: int, seed: int) -> tuple[float, float, float]:
    """Six agents, each depends on two others: recall and precision of the connected pairs, and the loss that is left."""
    agents, teams, hidden, steps = 6, 64, 8, 400
    wanted = torch.zeros(agents, agents)
    for i in range(agents):
        wanted[i, (i + 1) % agents] = 1.0
        wanted[i, (i + 3) % agents] = -1.0
    budget = edges / (agents * (agents - 1) * hidden * 6)
    bun = make(BUNConfig(agents="slots", seats=agents, hidden=hidden, shared=False, interval=20, window=20, budget=budget), seed=seed)
    head = nn.Linear(6, 1)
    optimizer = torch.optim.Adam([*bun.parameters(), *head.parameters()], lr=1e-2)
    generator = torch.Generator().manual_seed(seed)
    entities = everyone(teams, agents)
    losses = []
    for step in range(steps):
        seen, target = cue_task(agents, generator, teams, wanted)
        loss = (head(bun(seen, entities)[0]) * 4 - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        bun.after_backward()
        optimizer.step()
        bun.between_iterations(step / steps, optimizer, no_experience)
        losses.append(float(loss.detach()))
    assert losses[0] > 1.5
    planted, found = wanted != 0, bun.edges() > 0
    both = float((found & planted).sum())
    return both / float(planted.sum()), both / float(found.sum()), sum(losses[-20:]) / 20


def test_planted_dependencies_are_found_and_a_large_budget_adds_noise():
    """Chance would be a precision of 12 pairs in 30."""
    recall, precision, loss = found_in_cue_task(16, 0)
    assert recall == 1.0 and precision > 0.9 and loss < 0.1, (recall, precision, loss)
    recall, noisy, loss = found_in_cue_task(96, 0)
    assert recall == 1.0 and noisy < 0.8 and loss < 0.1, (recall, noisy, loss)


def test_refusals_are_sentences():
    for options, words in (
        ({"agents": "x"}, "bun.agents is 'x'; accepted are groups, slots"),
        ({"seats": 0}, "bun.seats is 0"),
        ({"budget": 1.5}, "bun.budget is 1.5"),
        ({"start": 0.6}, "bun.start is 0.6 and bun.stop is 0.5"),
    ):
        with pytest.raises(ValueError, match=words):
            BUNConfig(**options)  # pyright: ignore[reportArgumentType]
