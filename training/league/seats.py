"""Who plays which side of a batch of games: the policy that learns, or an opponent of the league.

`Seats` stands between the environment and the rollout. Of an observation it shows the policy only the rows that it plays
(`learners`), so that nothing else is stored, valued or learned from; it fills in the opponents' actions (`decide`, one
forward pass an opponent) and the scripted agents' orders (`override`). When a game ends, its next opponent is drawn.

A scripted agent remembers things of its match that no checkpoint can hold. So the actions of its game are kept (some
hundred bytes a turn), and a resumed run plays the game again up to where it was, which brings the agent's memory back.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from agent.stored import Agent
from arena.evaluate import Side, forfeit
from arena.fast import select_sides
from engine.engine import Engine
from training.config import LeagueConfig
from training.league.league import SELF, League, Played
from wrappers.action import write_all_orders
from wrappers.observation import Observation, observe
from wrappers.vec_env import GameResult, VecEnv

_ROW_FIELDS = ("feature", "side", "slot", "kind", "cell", "ident", "home", "mask")


class Seats:
    """The seats of one rank's games; without a league the policy has them all, and nothing is copied.

    Call before the environment is reset: this gives it the opening that lets scripted agents place their factories.
    """

    def __init__(self, config: LeagueConfig, env: VecEnv, league: League | None, seed: int) -> None:
        self.config, self.env, self.league = config, env, league
        games = np.arange(env.num_games)
        # evenly spread, so that staggered games of all ages are among them
        self.league_games = np.flatnonzero(np.floor((games + 1) * config.share) > np.floor(games * config.share))
        self.opponent = np.full(env.num_games, SELF, np.int64)  # uid
        self.player = np.zeros(env.num_games, np.int64)  # that the opponent is
        self.kept: np.ndarray | slice = slice(None)  # rows of the last observation that `learners` left
        self.played: list[Played] = []
        if league is None:
            return
        streams = np.random.SeedSequence([seed, 0x1EA6]).generate_state(2, np.uint64)
        self.rng = np.random.default_rng(int(streams[0]))
        self.generator = torch.Generator(league.device).manual_seed(int(streams[1] >> np.uint64(1)))
        self.next, self.games_left = SELF, 0  # whom the next games get, and how many of them
        self.games_of: dict[int, int] = {}  # uid -> games begun, for changing sides
        self.scripts: dict[int, Side] = {}  # game -> the agent
        self.record: dict[int, list[np.ndarray]] = {}  # game -> the policy's (slot, action) [rows, 5] int16 of every turn
        self._views: dict[Any, Observation] = {}
        self.own_opening, env.opening = env.opening, self.opening
        for game in self.league_games:
            self.draw(int(game))

    # ------------------------------------------------------------------------------------------- who plays next

    def draw(self, game: int) -> None:
        """The next opponent of a game, on the side that it has played less often.

        A drawn opponent gets the next few games that begin, so that about `distinct` play at once; this leaves how often each
        is met as it was drawn. While as many scripted agents play as may, policies are drawn instead.
        """
        assert self.league is not None
        self.scripts.pop(game, None)
        self.record.pop(game, None)
        full = len(self.scripts) >= self.config.scripted_games
        members = [member for member in self.league.active() if not (full and member.kind == "script")]
        if self.games_left == 0 or self.next not in [member.uid for member in members]:
            self.next = members[int(self.rng.choice(len(members), p=self.league.priority(members)))].uid
            self.games_left = -(-len(self.league_games) // self.config.distinct)
        self.games_left -= 1
        begun = self.games_of.get(self.next, 0)
        self.games_of[self.next] = begun + 1
        self.opponent[game], self.player[game] = self.next, begun % 2
        if self.league.members[self.next].kind == "script":
            self.scripts[game] = self.league.scripted(self.next).side(self.env.config)
            self.record[game] = []

    def ended(self, finished: list[GameResult]) -> list[tuple[GameResult, tuple[int, ...]]]:
        """Book the ended games and draw the next opponents; returns each with the players that were the policy."""
        told = [(result, self.learning_players(result.game)) for result in finished]
        for result, players in told:
            uid = int(self.opponent[result.game])
            if uid != SELF and result.whole:
                self.played.append(Played(uid, score(result, players[0])))
            if self.league is not None and result.game in self.league_games:
                self.draw(result.game)
        return told

    def learning_players(self, game: int) -> tuple[int, ...]:
        """The players of this game that the policy is."""
        return (0, 1) if self.opponent[game] == SELF else (1 - int(self.player[game]),)

    def report(self) -> tuple[list[Played], set[int]]:
        """The games that ended since the last report, and who is still playing."""
        played, self.played = self.played, []
        return played, {int(uid) for uid in self.opponent if uid != SELF}

    # --------------------------------------------------------------------------------------------- a turn

    def learners(self, obs: Observation) -> Observation:
        """The rows that the policy plays. Sides keep their numbers, and all planes and scalars are there."""
        if self.league is None:
            return obs
        learning = np.ones(obs.sides, bool)
        seated = np.flatnonzero(self.opponent != SELF)
        learning[2 * seated + self.player[seated]] = False
        self.kept = kept = np.flatnonzero(learning[obs.side])
        seen = Observation(0, 1)
        seen.rows, seen.map_size, seen.planes, seen.scalar = len(kept), obs.map_size, obs.planes, obs.scalar
        seen.first = np.concatenate([[0], np.cumsum(np.where(learning, np.diff(obs.first), 0))])
        for name in _ROW_FIELDS:
            setattr(seen, name, getattr(obs, name)[kept])
        return seen

    def policy_sides(self) -> list[int]:
        """The sides that a policy plays, the learning one or an opponent."""
        scripted = {2 * game + int(self.player[game]) for game in self.scripts} if self.league is not None else set()
        return [side for side in range(self.env.obs.sides) if side not in scripted]

    def decide(self, action: np.ndarray) -> np.ndarray:
        """Actions of all rows, given those of the rows that `learners` left."""
        if self.league is None:
            return action
        env, obs = self.env, self.env.obs
        chosen = np.zeros((obs.rows, 4), np.int64)
        chosen[self.kept] = action
        for game, turns in self.record.items():
            rows = side_rows(obs, 2 * game + 1 - self.player[game])
            turns.append(np.column_stack([obs.slot[rows], chosen[rows]]).astype(np.int16))
        observed: set[int] = set()
        for uid in sorted({int(self.opponent[game]) for game in self.league_games} - {SELF}):
            if self.league.members[uid].kind == "script":
                continue
            agent = self.league.agent(uid)
            view = self._view(agent)
            if view is not obs and id(view) not in observed:
                observed.add(id(view))
                observe(env.games, env.rules, agent.actions.rules(), env.static, view)
            games = np.flatnonzero(self.opponent == uid)
            sides = 2 * games + self.player[games]
            seen = select_sides(view, sides)
            if seen.rows:
                chosen[np.isin(obs.side, sides)] = agent.policy.act(seen, self.generator)
        return chosen

    def _view(self, agent: Agent) -> Observation:
        """The environment's observation for an opponent that is offered and sees the same as the policy, else one of its own."""
        assert self.league is not None
        obs, grid, features = self.env.obs, agent.policy.sizes["plane_size"], agent.policy.config.features
        ours = features in ((), tuple(self.league.own_config["features"]))
        if agent.actions == self.league.own_actions and grid == obs.planes.shape[-1] and ours:
            return obs
        return self._views.setdefault((agent.actions, grid, features), agent.policy.observation(obs.sides))

    def opening(self, game: Any, rules: Any, player: int, orders: Any) -> None:
        """A scripted agent places its own factories; everybody else does it as the policy does, whatever its own actions ask for."""
        i = self.env.restarting
        self._open(self.scripts.get(i), int(self.player[i]), game, rules, player, orders)

    def _open(self, script: Side | None, theirs: int, game: Any, rules: Any, player: int, orders: Any) -> None:
        if script is None or player != theirs:
            self.own_opening(game, rules, player, orders)
            return
        try:
            script.write_orders(game, rules, player, orders)
        except Exception as error:  # noqa: BLE001 told; a map on which one agent fails must not end the training
            warnings.warn(
                f"A league opponent's opening crashed ({type(error).__name__}: {error}); it places as the policy does.", stacklevel=2
            )
            self.own_opening(game, rules, player, orders)

    def override(self, games: np.recarray, orders: np.recarray) -> None:
        """The scripted agents' orders of this turn. One that raises has lost, as in a match."""
        if self.league is None:
            return
        with self.env.clock("opponents"):
            for i, script in self.scripts.items():
                self._ask(i, script, games[i], orders[i])

    def _ask(self, i: int, script: Side, game: Any, orders: Any) -> None:
        assert self.league is not None
        player = int(self.player[i])
        try:
            script.write_orders(game, self.env.rules, player, orders)
        except Exception as error:  # noqa: BLE001 told, and counted as a loss; it must not end the training
            name = self.league.members[int(self.opponent[i])].name
            warnings.warn(f"League opponent {name} crashed ({type(error).__name__}: {error}) and lost its game.", stacklevel=2)
            forfeit(game, player)

    # --------------------------------------------------------------------------------------------- saved and restored

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the league, under `seats`; nothing without a league."""
        if self.league is None:
            return {}
        kept = {
            "opponent": self.opponent.copy(),
            "player": self.player.copy(),
            "next": self.next,
            "games_left": self.games_left,
            "games_of": dict(self.games_of),
            "rng": self.rng.bit_generator.state,
            "generator": self.generator.get_state(),
            "record": {
                game: {"rows": np.array([len(turn) for turn in turns], np.int64), "actions": np.concatenate([_NO_ROWS, *turns])}
                for game, turns in self.record.items()
            },
        }
        return {"seats": kept}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state()["seats"]`; the environment and the league have been restored."""
        if self.league is None:
            return
        self.opponent[:], self.player[:] = state["opponent"], state["player"]
        self.next, self.games_left = state["next"], state["games_left"]
        self.games_of = dict(state["games_of"])
        self.rng.bit_generator.state = state["rng"]
        self.generator.set_state(state["generator"])
        self.played = []
        self.record = {
            game: np.split(kept["actions"], np.cumsum(kept["rows"])[:-1]) if len(kept["rows"]) else []
            for game, kept in state["record"].items()
        }
        self.scripts = {game: self._play_again(game) for game in self.record}

    def _play_again(self, i: int) -> Side:
        """The scripted agent of game `i` with all that it has seen of the match."""
        assert self.league is not None
        env, member = self.env, self.league.members[int(self.opponent[i])]
        script, theirs = self.league.scripted(member.uid).side(env.config), int(self.player[i])
        engine = Engine(env.config, 1)
        engine.reset(0, env.pool, int(env.map_index[i]))
        game, orders, rules = engine.games[0], engine.orders[0], engine.rules
        while game["real_step"] < 0 and not game["done"]:
            for player in range(2):
                self._open(script, theirs, game, rules, player, orders)
            engine.step()
        for turn in self.record[i]:
            side = np.full(len(turn), 1 - theirs, np.int32)
            write_all_orders(engine.games, rules, side, turn[:, 0].copy(), turn[:, 1:].astype(np.int64), len(turn), engine.orders)
            script.write_orders(game, rules, theirs, orders)
            engine.step()
        if engine.games[:1].tobytes() != env.games[i : i + 1].tobytes():
            warnings.warn(
                f"League opponent {member.name} does not play game {i} again as it did, so its code or our opening's has changed "
                "since the checkpoint; "
                "it goes on without its memory of this game, and the run is not exactly the one that was interrupted.",
                stacklevel=2,
            )
            return self.league.scripted(member.uid).side(env.config)
        return script


_NO_ROWS = np.zeros((0, 5), np.int16)


def score(result: GameResult, player: int) -> float:
    """1, 0.5 or 0 of a player; a game that was cut off goes by its lichen so far."""
    lead = result.result if result.done else int(np.sign(result.lichen[0] - result.lichen[1]))
    return 0.5 + 0.5 * (lead if player == 0 else -lead)


def side_rows(obs: Observation, side: int) -> slice:
    """The rows of a side."""
    return slice(int(obs.first[side]), int(obs.first[side + 1]))
