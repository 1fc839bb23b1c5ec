"""What the adapters share: flat numbered choices, and games whose rows are padded to a fixed number of slots a side.

Other libraries want arrays of one shape and an action that is one number per decision. So the rows of a side are laid
out on S slots (empty ones are zero), and every `[kind, direction, resource, amount]` that a config offers gets a number,
0 being WAIT.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from engine.config import MAX_FACTORIES
from engine.maps import MapPool
from wrappers.action import (
    AMOUNT_NAMES,
    DIG,
    DIRECTIONS,
    KIND_NAMES,
    KINDS,
    MOVE,
    MOVE_BIT,
    PICKUP,
    PICKUP_BIT,
    RECHARGE,
    RESOURCE_NAMES,
    RESOURCES,
    SELF_DESTRUCT,
    TRANSFER,
    TRANSFER_BIT,
    WAIT,
    ActionConfig,
)
from wrappers.features import ROBOT_WIDTH
from wrappers.observation import GRID, PLANES, SCALARS, Observation
from wrappers.rewards import RewardConfig
from wrappers.vec_env import GameResult, Opening, VecEnv

Override = Callable[[np.recarray, np.recarray], None]  # (games, their orders)
SEEN = ("feature", "alive", "planes", "scalar")  # of the padded arrays, what is of use as input of a stock policy
ROBOT_KINDS = (WAIT, MOVE, TRANSFER, PICKUP, DIG, SELF_DESTRUCT, RECHARGE)
DIRECTION_NAMES = ("centre", "up", "right", "down", "left")
LIMIT = 10.0  # observations are clipped to -LIMIT .. LIMIT, so that their spaces are bounded; their numbers are about -1 .. 2


@dataclass(frozen=True)
class Choices:
    """K numbered actions; number 0 is WAIT."""

    action: np.ndarray  # [K, 4] int64
    need: np.ndarray  # [K] int64, the bits that a row's mask must have
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.need)

    def legal(self, mask: np.ndarray) -> np.ndarray:
        """Masks `[M] int64` to `[M, K] bool`."""
        return (mask[:, None] & self.need) == self.need


def list_choices(actions: ActionConfig, kinds: Iterable[int] = range(KINDS)) -> Choices:
    """Every action of these kinds that the config offers."""
    offered = int(actions.rules()["kinds"])
    levels = [level for level, on in enumerate(actions.amounts_offered()) if on]
    rows: list[tuple[int, int, int, int]] = []
    needs: list[int] = []
    for kind in (kind for kind in kinds if offered >> kind & 1):
        bit = 1 << kind
        if kind == MOVE:
            rows += [(kind, d, 0, 0) for d in range(1, DIRECTIONS)]
            needs += [bit | 1 << (MOVE_BIT + d) for d in range(1, DIRECTIONS)]
        elif kind == TRANSFER:
            pairs = [(d, r) for d in range(DIRECTIONS) for r in range(RESOURCES) if RESOURCE_NAMES[r] in actions.transfer]
            rows += [(kind, d, r, level) for d, r in pairs for level in levels]
            needs += [bit | 1 << (TRANSFER_BIT + d * RESOURCES + r) for d, r in pairs for _ in levels]
        elif kind == PICKUP:
            resources = [r for r in range(RESOURCES) if RESOURCE_NAMES[r] in actions.pickup]
            rows += [(kind, 0, r, level) for r in resources for level in levels]
            needs += [bit | 1 << (PICKUP_BIT + r) for r in resources for _ in levels]
        elif kind == RECHARGE:
            rows += [(kind, 0, 0, level) for level in levels]
            needs += [bit] * len(levels)
        else:
            rows.append((kind, 0, 0, 0))
            needs.append(bit)
    return Choices(np.array(rows, np.int64), np.array(needs, np.int64), tuple(_name(row) for row in rows))


def _name(row: tuple[int, int, int, int]) -> str:
    kind, direction, resource, level = row
    parts = [KIND_NAMES[kind]]
    if kind in (MOVE, TRANSFER):
        parts.append(DIRECTION_NAMES[direction])
    if kind in (TRANSFER, PICKUP):
        parts.append(RESOURCE_NAMES[resource])
    if kind in (TRANSFER, PICKUP, RECHARGE):
        parts.append(AMOUNT_NAMES[level])
    return " ".join(parts)


@dataclass
class SideStep:
    """What a turn brought the B = 2 * N sides."""

    reward: np.ndarray  # [B] float32
    done: np.ndarray  # [B] bool
    truncated: np.ndarray  # [B] bool
    illegal: np.ndarray  # [B] int64, choices that the masks did not allow and that became WAIT
    finished: list[GameResult]


class PaddedGames:
    """N games whose sides are arrays of one shape. Side `b = 2 * game + player`.

    A factory stands at its slot, a robot at `max_factories` + its robot slot, both for life; later entities take the
    places of dead ones. An entity beyond the S slots is not shown and waits; it is counted and warned about.

    Args:
        pool: the maps, and by its config the rules.
        num_games, opening, reward, actions, seed, max_turns, threads: as in `VecEnv`.
        slots: S, more than the `max_factories` of the rules.

    A side's reward is the sum of its rows' rewards; the `result` term of `RewardConfig` counts once a side.

    Attributes: `games` (the `VecEnv`), `choices`, `beyond` (rows so far that had no slot), `now`, the arrays of the present
    state, fresh at every turn: `feature [B, S, D] float32`, `alive [B, S] int8`, `kind [B, S] int8`, `cell [B, S] int16`,
    `ident [B, S] int32` and `home [B, S] int16` (these four -1 where nobody is), `planes [B, C, P, P] float32`,
    `scalar [B, G] float32`, `action_mask [B, S, K] int8`.
    """

    def __init__(
        self,
        pool: MapPool,
        num_games: int,
        opening: Opening,
        slots: int = 64,
        reward: RewardConfig | None = None,
        actions: ActionConfig | None = None,
        seed: int = 0,
        max_turns: int | None = None,
        threads: int = 1,
    ) -> None:
        self.factories = pool.config.max_factories
        if slots <= self.factories:
            raise ValueError(f"slots is {slots}; a side may have {self.factories} factories, so at least {self.factories + 1} are needed.")
        reward, actions = reward or RewardConfig(), actions or ActionConfig()
        # the result belongs to the side: were it left to the rows, a larger team would win more
        self.result_weight = reward.scale * reward.result
        rows_reward = dataclasses.replace(reward, result=0.0)
        self.games = VecEnv(pool.config, num_games, pool, opening, rows_reward, actions, seed, max_turns, threads)
        self.choices = list_choices(actions)
        self.slots = slots
        self.beyond = 0
        self._warn_at = 1
        self.now: dict[str, np.ndarray] = {}

    @property
    def sides(self) -> int:
        return 2 * self.games.num_games

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one side's arrays."""
        per_slot = dict.fromkeys(("alive", "kind", "cell", "ident", "home"), (self.slots,))
        whole = {"feature": (self.slots, ROBOT_WIDTH), "planes": (PLANES, GRID, GRID), "scalar": (SCALARS,)}
        return {**per_slot, **whole, "action_mask": (self.slots, len(self.choices))}

    def reset(self, seed: int | None = None) -> None:
        """Restart all games; with a seed the sequence of maps begins anew."""
        if seed is not None:
            self.games.rng = np.random.default_rng(seed)
        self._look(self.games.reset())

    def reset_done(self) -> None:
        """Restart the games that are over."""
        if self.games.over.any():
            self._look(self.games.reset_done())

    def step(self, choice: np.ndarray, override: Override | None = None) -> SideStep:
        """Play one turn: `choice [B, S]`, the number of each slot's action. Those of empty slots are ignored. `override` as in `VecEnv`.

        Raises `ValueError` for another shape or a number outside `0 .. K - 1`.
        """
        choice = np.asarray(choice)
        if choice.shape != (self.sides, self.slots):
            raise ValueError(f"choice has shape {choice.shape}; {self.sides} sides of {self.slots} slots are expected.")
        if choice.min() < 0 or choice.max() >= len(self.choices):
            raise ValueError(f"choice holds {choice.min()} to {choice.max()}; accepted are 0 to {len(self.choices) - 1}.")
        obs = self.games.obs
        side, place = self._places(obs)
        shown = place < self.slots
        chosen = np.zeros(obs.rows, np.int64)
        chosen[shown] = choice[side[shown], place[shown]]
        refused = shown.copy()
        refused[shown] = self.now["action_mask"][side[shown], place[shown], chosen[shown]] == 0
        chosen[refused] = WAIT
        step = self.games.step(self.choices.action[chosen], override)
        # the reward's buffer and the rows are of the turn that was played, `obs` is of the next one
        reward = np.bincount(side, step.reward, self.sides)
        for ended in step.finished:
            reward[2 * ended.game] += self.result_weight * ended.result
            reward[2 * ended.game + 1] -= self.result_weight * ended.result
        illegal = np.bincount(side[refused], minlength=self.sides)
        self._look(self.games.obs)
        return SideStep(reward.astype(np.float32), step.done.repeat(2), step.truncated.repeat(2), illegal, step.finished)

    def _places(self, obs: Observation) -> tuple[np.ndarray, np.ndarray]:
        """Side and place of every row, as copies: `obs` is overwritten by the next step."""
        slot = obs.slot.astype(np.int64)
        return obs.side.astype(np.int64), np.where(slot < MAX_FACTORIES, slot, slot - MAX_FACTORIES + self.factories)

    def _look(self, obs: Observation) -> None:
        """Lay the rows out on their slots."""
        side, place = self._places(obs)
        shown = place < self.slots
        at = side[shown], place[shown]
        now: dict[str, np.ndarray] = {}
        for name, kind in (("kind", np.int8), ("cell", np.int16), ("ident", np.int32), ("home", np.int16)):
            now[name] = np.full((self.sides, self.slots), -1, kind)
            now[name][at] = getattr(obs, name)[shown]
        now["feature"] = np.zeros((self.sides, self.slots, ROBOT_WIDTH), np.float32)
        now["feature"][at] = np.clip(obs.feature[shown], -LIMIT, LIMIT)
        now["alive"] = np.zeros((self.sides, self.slots), np.int8)
        now["alive"][at] = 1
        now["planes"] = np.clip(obs.planes, -LIMIT, LIMIT)
        now["scalar"] = np.clip(obs.scalar, -LIMIT, LIMIT)
        now["action_mask"] = np.zeros((self.sides, self.slots, len(self.choices)), np.int8)
        now["action_mask"][..., 0] = 1
        now["action_mask"][at] = self.choices.legal(obs.mask[shown])
        self.now = now
        self._count_beyond(len(shown) - int(shown.sum()))

    def _count_beyond(self, rows: int) -> None:
        """Warn at the first row without a slot, and whenever there have been ten times as many since."""
        self.beyond += rows
        if rows and self.beyond >= self._warn_at:
            self._warn_at = 10 * self.beyond
            warnings.warn(
                f"{rows} entities have no place in {self.slots} slots a side and wait ({self.beyond} so far); make slots larger.",
                RuntimeWarning,
                stacklevel=4,
            )


def team_space(padded: PaddedGames) -> spaces.Dict:
    """The space of a side's arrays `SEEN`."""
    shapes = padded.shapes
    real = {name: spaces.Box(-LIMIT, LIMIT, shapes[name], np.float32) for name in SEEN if name != "alive"}
    return spaces.Dict({**real, "alive": spaces.MultiBinary(padded.slots)})
