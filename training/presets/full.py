"""The whole game from scratch: ore, rubble, lichen and light robots (docs/results/lichen.md says what each value decided)."""

from __future__ import annotations

from training.config import PPOConfig, TrainConfig
from wrappers.action import ActionConfig
from wrappers.rewards import RewardConfig

REACH = 8  # cells from a factory, as far as rubble is cleared and paid for

# Lights clear ground and heavies dig; offered more, robots carry things about that nobody needs.
ACTIONS = ActionConfig.full(
    transfer=("ice", "ore"),
    transfer_to_robots=False,
    dig=("ice", "ore", "rubble"),
    light_dig=("rubble",),
    ice_first=80,
    rubble_distance=REACH,
    amounts=("all",),
    keep_way_home=True,
    water_reserve=100,
    lights_per_factory=5,
)

# Unpaid robots are not built, since metal is needed for nothing else that pays; unpaid ground is not cleared.
# A side's sum over a fixed divisor, not its mean: a mean would punish building.
REWARD = RewardConfig(
    own=0.7,
    shared_by=20,
    rubble_dug=0.125,
    rubble_distance=REACH,
    lichen_grown=0.2,
    ore_given=0.125,
    ore_got=0.125,
    light_built=4.0,
    heavy_built=30.0,
    factory_lost=-20.0,
)

FULL = TrainConfig(
    env_steps=256_000,
    eval_every=128_000,
    actions=ACTIONS,
    reward=REWARD,
    # two passes teach more from a step than one, and a constant rate goes on learning (docs/results/survival.md)
    ppo=PPOConfig(num_games=16, epochs=2, minibatches=4, learning_rate=1e-3, anneal_learning_rate=False),
)
