"""The fast arena: every game ends as on the official engine with the same actions, and seeds decide all else."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch

from agent.policy import Policy, PolicyConfig, policy_sizes
from agent.scripted import make_act
from agent.scripted import names as opponents
from agent.scripted.protocol import plain
from agent.stored import Agent
from arena.evaluate import Scripted
from arena.fast import Fixture, Outcome, play_games, select_sides
from arena.match import Match, Referee, env_settings
from engine.config import GameConfig
from engine.engine import Engine
from engine.maps import MapPool
from engine.official_actions import PLAYERS, orders_to_actions
from wrappers.action import ActionConfig
from wrappers.observation import Observation, empty_static, observe, observe_side, write_static

SMALL = 24


def agent(seed: int, actions: ActionConfig | None = None) -> Agent:
    """An untrained policy, which does about anything that it is offered."""
    torch.manual_seed(seed)
    actions = actions or ActionConfig.full()
    policy = Policy(PolicyConfig(width=16, channels=4), policy_sizes(actions))
    policy.eval()
    return Agent(policy, actions)


def built_in(name: str) -> Scripted:
    return Scripted(lambda: make_act(name))


def rules(map_size: int = SMALL, turns: int = 1000) -> GameConfig:
    return GameConfig.for_map_size(map_size, max_episode_length=turns)


def swapped(left: Any, right: Any, seed: int) -> list[Fixture]:
    return [Fixture(left, right, seed), Fixture(right, left, seed)]


def official_verdict(seed: int, config: GameConfig, turns: list[dict[str, Any]]) -> Any:
    """The match runner's result of these actions on the official engine."""
    settings = {**env_settings(config.map_size), "max_episode_length": config.max_episode_length}
    match = Match(Referee(seed, settings), list(PLAYERS))
    for actions in turns:
        assert not match.over
        match.failures.update(match.referee.play(actions))
    assert match.over
    return match.result(seed, config.map_size)


def check_parity(fixtures: list[Fixture], config: GameConfig) -> list[Outcome]:
    """Play in the arena, replay what was ordered on the official engine, compare everything that is told of a game."""
    said: dict[int, list[dict[str, Any]]] = defaultdict(list)

    def watch(i: int, game: Any, orders: Any) -> None:
        said[i].append({name: plain(orders_to_actions(game, orders, player)) for player, name in enumerate(PLAYERS)})

    outcomes = dict(play_games(fixtures, config, watch=watch))
    assert sorted(outcomes) == list(range(len(fixtures)))
    for i, ours in outcomes.items():
        theirs = official_verdict(fixtures[i].seed, config, said[i])
        sides = (theirs.left, theirs.right)
        assert (ours.winner, ours.reason, ours.turns) == (theirs.winner, theirs.reason, theirs.turns)
        for name, values in (("lichen", ours.lichen), ("factories", ours.factories), ("robots", ours.robots), ("error", ours.errors)):
            assert values == tuple(getattr(side, name) for side in sides), name
    return [outcomes[i] for i in range(len(fixtures))]


def test_short_games_end_as_on_the_official_engine() -> None:
    wild, other = agent(1), agent(2, ActionConfig())
    fixtures = [*swapped(wild, other, 11), *swapped(wild, built_in("miner"), 12), *swapped(built_in("idle"), other, 13)]
    outcomes = check_parity(fixtures, rules(turns=50))
    assert any(max(outcome.lichen) > 0 for outcome in outcomes)  # else lichen was not compared
    assert {outcome.turns for outcome in outcomes} == {50}


def test_games_that_end_by_losing_all_factories_do_so_in_the_official_turn() -> None:
    outcomes = check_parity(swapped(built_in("idle"), built_in("miner"), 5), rules())
    assert [outcome.winner for outcome in outcomes] == ["right", "left"]
    assert [outcome.reason for outcome in outcomes] == [f"{side} lost all factories." for side in ("left", "right")]
    assert outcomes[0].turns == outcomes[1].turns == 151
    assert outcomes[0].factories == outcomes[1].factories[::-1]


@pytest.mark.slow
@pytest.mark.parametrize("size", [48, 64])
def test_whole_games_end_as_on_the_official_engine(size: int) -> None:
    wild = agent(1)
    players = [built_in(name) for name in opponents()]
    fixtures = [*swapped(wild, agent(2, ActionConfig()), 21), Fixture(built_in("miner"), built_in("miner"), 22)]
    for k, (left, right) in enumerate(zip(players, [*players[1:], wild])):
        fixtures += swapped(left, right, 30 + k)
    outcomes = check_parity(fixtures, rules(size))
    assert any(outcome.turns == 1000 for outcome in outcomes) and any(outcome.turns < 1000 for outcome in outcomes)
    assert {outcome.winner for outcome in outcomes} >= {"left", "right"}


def test_both_sides_play_the_same_map() -> None:
    """Of two swapped games the boards are the same before the first placement, and each player has the other side."""
    seen: dict[int, tuple[np.ndarray, int]] = {}

    def watch(i: int, game: Any, orders: Any) -> None:
        if i not in seen:
            seen[i] = np.concatenate([game["rubble"], game["ice"], game["ore"]]), int(game["seed"])

    outcomes = dict(play_games(swapped(built_in("miner"), built_in("idle"), 3), rules(turns=10), watch=watch))
    assert np.array_equal(seen[0][0], seen[1][0]) and seen[0][1] == seen[1][1] == 3
    assert outcomes[0].robots[0] == outcomes[1].robots[1] > 0  # the miner's
    assert outcomes[0].robots[1] == outcomes[1].robots[0] == 0


def test_the_same_seed_gives_the_same_games_and_another_one_others() -> None:
    fixtures = [*swapped(agent(1), agent(2), 7), *swapped(agent(1), built_in("miner"), 8)]
    first, again, other = (dict(play_games(fixtures, rules(turns=40), seed=seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_scripted_game_does_not_depend_on_its_neighbours() -> None:
    alone = dict(play_games([Fixture(built_in("miner"), built_in("idle"), 4)], rules(turns=60)))[0]
    crowd = [Fixture(agent(1), built_in("miner"), 9), Fixture(built_in("miner"), built_in("idle"), 4), Fixture(agent(1), agent(2), 4)]
    assert dict(play_games(crowd, rules(turns=60)))[1] == alone


def test_games_are_told_as_they_end() -> None:
    fixtures = [Fixture(built_in("miner"), built_in("miner"), 4), Fixture(built_in("idle"), built_in("idle"), 4)]
    running: list[int] = []
    order = [i for i, _ in play_games(fixtures, rules(turns=170), on_turn=running.append)]
    assert order == [1, 0]
    assert running == [2] * 150 + [1] * 19 + [0]


def test_a_side_sees_what_it_sees_alone() -> None:
    """Selecting sides of a batch gives the rows, planes and scalars that each side would see by itself."""
    config, actions = rules(), ActionConfig.full()
    engine, count = Engine(config, 3), 3
    pool = MapPool(config, [1, 2, 3])
    static = empty_static(count)
    states: dict[int, Any] = {}

    def watch(i: int, game: Any, orders: Any) -> None:
        if game["real_step"] == 40:
            states[i] = game.copy()

    list(play_games([Fixture(agent(1), built_in("miner"), seed) for seed in (1, 2, 3)], rules(turns=41), pool, watch=watch))
    for i in range(count):
        engine.games[i] = states[i]
        write_static(engine.games[i], engine.rules, static[i])
    view = Observation(2 * count)
    observe(engine.games, engine.rules, actions.rules(), static, view)
    sides = np.array([0, 3, 4])
    seen = select_sides(view, sides)
    for k, side in enumerate(sides.tolist()):
        alone = Observation(1)
        observe_side(engine.games[side // 2], engine.rules, actions.rules(), static[side // 2], side % 2, alone)
        rows = seen.side == k
        assert alone.rows == rows.sum() == seen.first[k + 1] - seen.first[k] > 0
        for name in ("feature", "slot", "kind", "cell", "ident", "home", "mask"):
            assert np.array_equal(getattr(seen, name)[rows], getattr(alone, name)), name
        assert np.array_equal(seen.planes[k], alone.planes[0]) and np.array_equal(seen.scalar[k], alone.scalar[0])
    assert select_sides(view, np.zeros(0, np.int64)).rows == 0


def faulty(at: int, fault: Any) -> Scripted:
    """`idle`, but for what it does in real turn `at`."""

    def make() -> Any:
        act = make_act("idle")

        def answer(message: dict[str, Any]) -> dict[str, Any]:
            reply = act(message)
            return fault(message) if message["obs"]["real_env_steps"] == at else reply

        return answer

    return Scripted(make)


def crash(message: dict[str, Any]) -> dict[str, Any]:
    raise KeyError("lost")


@pytest.mark.parametrize("at", [-2, 3])
def test_a_crashing_agent_loses_its_game_only(at: int) -> None:
    bad = faulty(at, crash)
    fixtures = [Fixture(bad, built_in("idle"), 1), Fixture(built_in("idle"), bad, 1), Fixture(built_in("miner"), built_in("idle"), 1)]
    outcomes = dict(play_games(fixtures, rules()))
    assert [outcomes[i].winner for i in range(3)] == ["right", "left", "left"]
    assert outcomes[0].reason == "left crashed (KeyError: 'lost')." and outcomes[1].errors == (None, "crashed (KeyError: 'lost')")
    assert outcomes[0].turns == max(at, 0) and outcomes[2].turns == 151


def test_an_action_that_the_official_engine_refuses_loses() -> None:
    bad = faulty(3, lambda message: {"unit_999": [[0, 1, 0, 0, 0, 1]]})
    outcomes = dict(play_games(swapped(bad, built_in("idle"), 1), rules()))
    assert [outcomes[i].reason for i in range(2)] == ["left sent an invalid action.", "right sent an invalid action."]
    assert outcomes[0].turns == 4 and outcomes[0].factories[0] > 0


def test_a_map_that_the_pool_lacks_is_told() -> None:
    with pytest.raises(ValueError, match="no map of seed 2"):
        list(play_games([Fixture(agent(1), agent(2), 2)], rules(), MapPool(rules(), [1])))
