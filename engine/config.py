"""The numbers of the rules: one frozen config, made by hand or from the official `EnvConfig`.

`GameConfig` carries every number that changes how a game is played, under the official name in lower case.
`rules()` turns it into one numpy record, which is what the compiled engine and the observation code read.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Collection, Optional

import numpy as np

SIZE = 64  # boards are stored 64 x 64; smaller maps use the corner [0, map_size)
CELLS = SIZE * SIZE
MAX_FACTORIES = 10  # factories a side that a game record has room for
MAX_ROBOTS = 512  # robots a side that a game record has room for
QUEUE = 20  # entries of an action queue that a robot record has room for
LIGHT, HEAVY = 0, 1


def check_range(config: Any, low: float, high: Optional[float], *names: str, prefix: str = "") -> None:
    """Raises `ValueError` for a field of a config that is below `low` or above `high` (None: no bound); `prefix` goes before its name."""
    for name in names:
        value = getattr(config, name)
        if not low <= value or high is not None and not value <= high:
            accepted = f"it must be at least {low}" if high is None else f"accepted are {low} to {high}"
            raise ValueError(f"{prefix}{name} is {value}; {accepted}.")


def check_choice(config: Any, known: Collection[str], *names: str, prefix: str = "") -> None:
    """Raises `ValueError` for a field of a config that is none of the words `known`."""
    for name in names:
        if getattr(config, name) not in known:
            raise ValueError("{}{} is {!r}; accepted are {}.".format(prefix, name, getattr(config, name), ", ".join(known)))


@dataclass(frozen=True)
class RobotConfig:
    """What one kind of robot costs, carries and does; names as in the official `UnitConfig`."""

    metal_cost: int = 10
    power_cost: int = 50
    cargo_space: int = 100
    battery_capacity: int = 150
    charge: int = 1
    init_power: int = 50
    move_cost: int = 1
    rubble_movement_cost: float = 0.05
    dig_cost: int = 5
    dig_rubble_removed: int = 2
    dig_resource_gain: int = 2
    dig_lichen_removed: int = 10
    self_destruct_cost: int = 10
    rubble_after_destruction: int = 1
    action_queue_power_cost: int = 1

    def check(self, kind: str) -> None:
        """Raises `ValueError` for a number that a game record cannot hold."""
        highest = {"battery_capacity": 30_000, "dig_resource_gain": 255, "rubble_after_destruction": 255}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if not 0 <= value <= highest.get(f.name, 1_000_000):
                raise ValueError(f"{f.name} of {kind} robots is {value}; accepted are 0 to {highest.get(f.name, 1_000_000)}.")
            if f.name != "rubble_movement_cost" and value != int(value):
                raise ValueError(f"{f.name} of {kind} robots is {value}; the engine plays whole numbers only.")


HEAVY_ROBOT = RobotConfig(
    metal_cost=100,
    power_cost=500,
    cargo_space=1000,
    battery_capacity=3000,
    charge=10,
    init_power=500,
    move_cost=20,
    rubble_movement_cost=1,
    dig_cost=60,
    dig_rubble_removed=20,
    dig_resource_gain=20,
    dig_lichen_removed=100,
    self_destruct_cost=100,
    rubble_after_destruction=10,
    action_queue_power_cost=10,
)


# numbers of the game that may be anything from 0 on
_WHOLE_NUMBERS = (
    "factory_rubble_after_destruction",
    "init_water_metal_per_factory",
    "init_power_per_factory",
    "min_lichen_to_spread",
    "power_per_connected_lichen_tile",
    "factory_processing_rate_water",
    "factory_processing_rate_metal",
    "factory_charge",
    "factory_water_consumption",
)


@dataclass(frozen=True)
class GameConfig:
    """The rules of one game; defaults are the first edition's 48x48 map with 2-5 factories a side."""

    map_size: int = 48
    min_factories: int = 2
    max_factories: int = 5
    max_episode_length: int = 1000
    max_transfer_amount: int = 3000
    cycle_length: int = 50
    day_length: int = 30
    unit_action_queue_size: int = QUEUE
    max_rubble: int = 100
    factory_rubble_after_destruction: int = 50
    init_water_metal_per_factory: int = 150
    init_power_per_factory: int = 1000
    min_lichen_to_spread: int = 20
    max_lichen_per_tile: int = 100
    power_per_connected_lichen_tile: int = 1
    lichen_watering_cost_factor: int = 10
    factory_processing_rate_water: int = 100
    ice_water_ratio: int = 4
    factory_processing_rate_metal: int = 50
    ore_metal_ratio: int = 5
    factory_charge: int = 50
    factory_water_consumption: int = 1
    power_loss_factor: float = 0.5
    light: RobotConfig = field(default_factory=RobotConfig)
    heavy: RobotConfig = HEAVY_ROBOT

    def __post_init__(self) -> None:
        check_range(self, 12, SIZE, "map_size")
        check_range(self, 1, self.max_factories, "min_factories")
        check_range(self, self.min_factories, MAX_FACTORIES, "max_factories")
        check_range(self, 1, QUEUE, "unit_action_queue_size")
        check_range(self, 0, 200, "max_rubble")
        check_range(self, 1, 250, "max_lichen_per_tile")
        check_range(self, 0, 30_000, "max_transfer_amount")
        check_range(self, 1, 1_000_000, "max_episode_length", "cycle_length")
        check_range(self, 0, self.cycle_length, "day_length")
        check_range(self, 1, 1_000_000, "ice_water_ratio", "ore_metal_ratio", "lichen_watering_cost_factor")
        for name in _WHOLE_NUMBERS:
            check_range(self, 0, 1_000_000, name)
            if getattr(self, name) != int(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; the engine plays whole numbers only.")
        check_range(self, 0, 1, "power_loss_factor")
        for kind, robot in (("light", self.light), ("heavy", self.heavy)):
            robot.check(kind)

    @classmethod
    def for_map_size(cls, map_size: int, **changes: Any) -> GameConfig:
        """The edition that plays on this size: 48 has 2-5 factories a side, 64 has 4-10; others scale with the map."""
        known = {48: (2, 5), 64: (4, 10)}
        low, high = known.get(map_size, (2, 5) if map_size < 56 else (4, 10))
        return cls(**{"map_size": map_size, "min_factories": low, "max_factories": high, **changes})

    @classmethod
    def from_env_cfg(cls, env_cfg: Any) -> GameConfig:
        """From the official `EnvConfig`, or the dict of it that the judge sends on the first turn.

        Raises `ValueError` for settings that the engine does not play (`BIDDING_SYSTEM=False`, maps beyond 64).
        """
        values = dict(env_cfg) if isinstance(env_cfg, dict) else dataclasses.asdict(env_cfg)
        if not values.get("BIDDING_SYSTEM", True):
            raise ValueError("BIDDING_SYSTEM is False; the engine plays games that open with a bid.")
        robots = values.pop("ROBOTS")
        lowered = {name.lower(): value for name, value in values.items()}
        names = {f.name for f in dataclasses.fields(cls)}

        def robot(kind: str) -> RobotConfig:
            raw = robots[kind]
            raw = raw if isinstance(raw, dict) else dataclasses.asdict(raw)
            return RobotConfig(**{name.lower(): value for name, value in raw.items()})

        kept = {name: value for name, value in lowered.items() if name in names}
        return cls(**kept, light=robot("LIGHT"), heavy=robot("HEAVY"))

    def official(self) -> dict[str, Any]:
        """These rules under the official names, as plain values: what `from_env_cfg` reads and an agent is told."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("light", "heavy")}
        lower = {"max_episode_length", "map_size", "max_transfer_amount"}
        official = {name if name in lower else name.upper(): value for name, value in values.items()}
        official["ROBOTS"] = {
            name: {key.upper(): value for key, value in dataclasses.asdict(robot).items()}
            for name, robot in (("LIGHT", self.light), ("HEAVY", self.heavy))
        }
        return official

    def env_cfg(self) -> dict[str, Any]:
        """The keyword arguments that make the official `LuxAI_S2` play by these rules."""
        from luxai_s2.config import UnitConfig

        official = self.official()
        official["ROBOTS"] = {name: UnitConfig(**robot) for name, robot in official["ROBOTS"].items()}
        return official

    def rules(self) -> np.record:
        """All numbers as one record (`RULES_DTYPE`); move costs become an exact table by kind and rubble."""
        rules = np.zeros(1, RULES_DTYPE).view(np.recarray)[0]
        for name in _GAME_FIELDS:
            rules[name] = getattr(self, name)
        rules["power_loss_factor"] = self.power_loss_factor
        for kind, robot in enumerate((self.light, self.heavy)):
            for name in _ROBOT_FIELDS:
                rules[name][kind] = getattr(robot, name)
            rubble = range(rules["move_cost_at"].shape[1])
            # the official formula in Python floats, so that rounding is the official one
            rules["move_cost_at"][kind] = [math.floor(robot.move_cost + robot.rubble_movement_cost * r) for r in rubble]
        return rules


_GAME_FIELDS = [f.name for f in dataclasses.fields(GameConfig) if f.name not in ("light", "heavy", "power_loss_factor")]
_ROBOT_FIELDS = [f.name for f in dataclasses.fields(RobotConfig) if f.name not in ("move_cost", "rubble_movement_cost")]

RULES_DTYPE = np.dtype(
    [(name, np.int32) for name in _GAME_FIELDS]
    + [("power_loss_factor", np.float64)]
    + [(name, np.int32, (2,)) for name in _ROBOT_FIELDS]
    + [("move_cost_at", np.int32, (2, 256))],
    align=True,
)
