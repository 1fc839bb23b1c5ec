"""One agent an entity: the ecosystem's checker, and that names, rewards and ends are those of the rows."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test

from agent.opening import opening
from arena.evaluate import built_in
from engine.config import MAX_FACTORIES, GameConfig
from engine.maps import MapPool
from wrappers.action import ActionConfig
from wrappers.adapters.entity_env import EntityEnv
from wrappers.features import FACTORY_WIDTH, ROBOT_WIDTH
from wrappers.observation import SCALARS
from wrappers.rewards import RewardConfig
from wrappers.vec_env import VecEnv

CONFIG = GameConfig(map_size=24, min_factories=1, max_factories=2)
LIVELY = RewardConfig(scale=1.0, power_taken=0.01, rubble_dug=0.1, light_built=1.0, heavy_built=1.0, robot_lost=-2.0, alive=0.1)


@pytest.fixture(scope="module")
def small() -> MapPool:
    return MapPool(CONFIG, range(8))


def sampled(env: EntityEnv, observations: dict[str, dict[str, np.ndarray]]) -> dict[str, int]:
    return {agent: int(env.action_space(agent).sample(mask=observations[agent]["action_mask"])) for agent in env.agents}


def entities(games: VecEnv) -> list[tuple[int, int, int]]:
    """(side, slot, ident) of every row."""
    obs = games.obs
    return list(zip(*(getattr(obs, name)[: obs.rows].tolist() for name in ("side", "slot", "ident"))))


def order_of_names(key: tuple[int, int, int]) -> tuple[int, int]:
    """Newcomers are named by side, then by slot."""
    return key[:2]


@pytest.mark.parametrize("against", [None, "miner"])
def test_it_passes_the_parallel_api_test(small: MapPool, against: str | None) -> None:
    rival = None if against is None else built_in(against).side(CONFIG)
    env = EntityEnv(small, opening, max_turns=60, rival=rival)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # names of robots that are never built do not end
        warnings.filterwarnings("ignore", message="No agents present but not all possible_agents")
        parallel_api_test(env, num_cycles=200)


def test_agents_are_the_rows_of_the_game(small: MapPool) -> None:
    """The same game by rows: the same observations, rewards and ends, and every name is one entity's."""
    actions = ActionConfig(self_destruct=True)
    env = EntityEnv(small, opening, reward=LIVELY, actions=actions, max_turns=70)
    twin = VecEnv(CONFIG, 1, small, opening, LIVELY, actions, max_turns=70)
    observations, _ = env.reset(seed=4)
    twin.rng = np.random.default_rng(4)
    twin.reset()
    whose: dict[str, tuple[int, int, int]] = {}  # agent -> (side, slot, ident)
    gone: set[str] = set()
    for agent in env.possible_agents:
        env.action_space(agent).seed(len(agent))
    while env.agents:
        obs = twin.obs
        rows = {key: i for i, key in enumerate(entities(twin))}
        for agent, key in zip((a for a in env.agents if a not in whose), sorted(set(rows) - set(whose.values()), key=order_of_names)):
            whose[agent] = key
        assert len(env.agents) == obs.rows and len(set(whose.values())) == len(whose)
        choice, action = sampled(env, observations), np.zeros((obs.rows, 4), np.int64)
        for agent in env.agents:
            i = rows[whose[agent]]
            own = obs.feature[i, : len(observations[agent]["observation"]) - SCALARS]
            assert np.array_equal(observations[agent]["observation"], np.concatenate([own, obs.scalar[obs.side[i]]]).clip(-10, 10))
            assert env.observation_space(agent).contains(observations[agent])
            action[i] = (env.factory_choices if "factory" in agent else env.robot_choices).action[choice[agent]]
        acting = list(env.agents)
        step = twin.step(action)
        observations, rewards, terminations, truncations, infos = env.step(choice)
        assert np.array_equal(env.games.games, twin.games)
        left = set() if step.done[0] else set(entities(twin))
        for agent in acting:
            assert rewards[agent] == step.reward[rows[whose[agent]]] and infos[agent]["illegal"] == 0
            assert terminations[agent] == (whose[agent] not in left)
            assert truncations[agent] == (bool(step.truncated[0]) and not terminations[agent])
        gone |= {agent for agent in acting if terminations[agent]}
        assert not gone & set(env.agents)
    assert step.truncated[0] and len(whose) > 9 and len(gone) > 2
    assert env.state_space.contains(env.state())


def test_robots_beyond_the_last_name_wait_and_are_told(small: MapPool) -> None:
    env = EntityEnv(small, opening, robots=1, max_turns=40)
    observations, infos = env.reset(seed=0)
    build = env.factory_choices.names.index("build_light")
    built: set[tuple[int, int]] = set()
    with pytest.warns(RuntimeWarning, match="More than 1 robots of a side"):
        while env.agents:
            actions = sampled(env, observations)
            actions.update({agent: build for agent in actions if "factory" in agent and observations[agent]["action_mask"][build]})
            observations, _, _, _, infos = env.step(actions)
            obs = env.games.obs
            built |= {(int(obs.side[i]), int(obs.ident[i])) for i in range(obs.rows) if obs.slot[i] >= MAX_FACTORIES}
    assert infos["player_0_factory_0"]["beyond"] == len(built) - 2 > 0


def test_misuse_is_a_sentence(small: MapPool) -> None:
    env = EntityEnv(small, opening)
    with pytest.raises(RuntimeError, match="reset"):
        env.step({})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="There is no action of player_0_factory_0"):
        env.step({})


def test_names_group_by_kind(small: MapPool) -> None:
    """As TorchRL and BenchMARL group agents: what is before the last underscore has one space."""
    env = EntityEnv(small, opening)
    groups: dict[str, list[str]] = {}
    for agent in env.possible_agents:
        groups.setdefault(re.sub(r"_\d+$", "", agent), []).append(agent)
    assert sorted(groups) == ["player_0_factory", "player_0_robot", "player_1_factory", "player_1_robot"]
    for agents in groups.values():
        assert len({str((env.observation_space(agent), env.action_space(agent))) for agent in agents}) == 1


class Net(torch.nn.Module):
    """One kind's policy and value."""

    def __init__(self, inputs: int, choices: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(inputs, 64), torch.nn.Tanh())
        self.actor, self.critic = torch.nn.Linear(64, choices), torch.nn.Linear(64, 1)

    def forward(self, seen: torch.Tensor, mask: torch.Tensor) -> tuple[torch.distributions.Categorical, torch.Tensor]:
        hidden = self.body(seen)
        return torch.distributions.Categorical(logits=self.actor(hidden).masked_fill(mask == 0, -1e9)), self.critic(hidden)[:, 0]


def play(env: EntityEnv, nets: dict[str, Net], seed: int) -> tuple[dict[str, list[torch.Tensor]], int]:
    """An episode: of each kind observations, masks, choices and discounted returns of all its agents' lives; and the ice brought."""
    observations, infos = env.reset(seed=seed)
    lives: dict[str, list[tuple[np.ndarray, np.ndarray, int, float]]] = {}
    while env.agents:
        chosen: dict[str, int] = {}
        for kind, net in nets.items():
            if agents := [agent for agent in env.agents if kind in agent]:
                seen, mask = (
                    torch.from_numpy(np.stack([observations[a][name] for a in agents])) for name in ("observation", "action_mask")
                )
                with torch.no_grad():
                    chosen.update(zip(agents, net(seen, mask)[0].sample().tolist()))
        before = observations
        observations, rewards, _, _, infos = env.step(chosen)
        for agent, number in chosen.items():
            lives.setdefault(agent, []).append((before[agent]["observation"], before[agent]["action_mask"], number, rewards[agent]))
    rows: dict[str, list[tuple]] = {kind: [] for kind in nets}
    for agent, life in lives.items():
        total = 0.0
        for seen, mask, number, reward in reversed(life):
            total = reward + 0.95 * total
            rows[agent.split("_")[2]].append((seen, mask, number, np.float32(total)))
    columns = {kind: [torch.from_numpy(np.array(column)) for column in zip(*found)] for kind, found in rows.items()}
    return columns, sum(next(iter(infos.values()))["result"].ice_got)


@pytest.mark.slow
def test_independent_ppo_learns_to_bring_ice(small: MapPool) -> None:
    """A textbook learner that knows nothing of the game but the interface, parameters shared by kind: 6,000 turns."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    offered = ActionConfig.survival(heavies_per_factory=2)
    env = EntityEnv(small, opening, robots=8, reward=RewardConfig(scale=1.0, heavy_built=2.0), actions=offered, max_turns=100)
    nets = {
        "factory": Net(FACTORY_WIDTH + SCALARS, len(env.factory_choices)),
        "robot": Net(ROBOT_WIDTH + SCALARS, len(env.robot_choices)),
    }
    optimizer = torch.optim.Adam([p for net in nets.values() for p in net.parameters()], lr=1e-3)
    ice: list[int] = []
    for episode in range(60):
        columns, brought = play(env, nets, episode)
        ice.append(brought)
        with torch.no_grad():
            old = {kind: nets[kind](seen, mask) for kind, (seen, mask, _, _) in columns.items()}
        for _ in range(10):
            loss = torch.zeros(())
            for kind, (seen, mask, number, returns) in columns.items():
                choice, value = nets[kind](seen, mask)
                advantage = returns - old[kind][1]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-3)
                ratio = (choice.log_prob(number) - old[kind][0].log_prob(number)).exp()
                gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
                loss = loss - gain - 0.01 * choice.entropy().mean() + 0.02 * (value - returns).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert np.mean(ice[:10]) < 20 and np.mean(ice[-20:]) > 300  # measured: 0 and 650
