"""The replay page without a browser: what is read from replays of any origin, what is refused, and recorded thoughts."""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import arena.replay
from agent.policy import Policy, PolicyConfig, policy_sizes
from agent.scripted import make_act
from agent.scripted.protocol import View, plain
from arena.match import PLAYERS, Referee, env_settings, play_match
from arena.replay import read_json, read_replay, write_replay
from arena.replay_page import write_page
from arena.replay_page.pack import packed_lines
from arena.replay_page.recording import read_recording
from main import main
from submission.entry import Player
from submission.thoughts import VARIABLE, read_thoughts
from tests.submission.test_package import write_checkpoint
from wrappers.action import ActionConfig

KAGGLE = Path(__file__).parents[1] / "data" / "kaggle_episode.json.gz"  # as kaggle-environments 1.33.2 wrote it


def play_here(folder: Path, names: tuple[str, str], turns: int, size: int = 48, acts: Any = None) -> Path:
    """The replay of a match on the official engine that stops after `turns`, its agents in this process."""
    referee = Referee(3, env_settings(size))
    acts = acts or [make_act(name) for name in names]
    observations, actions = [referee.observation], []
    while referee.turns < turns and not referee.done:
        sent = {}
        for player, act in zip(PLAYERS, acts):
            info = {"env_cfg": referee.env_cfg} if referee.step == 0 else {}
            message = {"obs": json.loads(referee.observation), "step": referee.step, "player": player, "reward": 0.0, "info": info}
            sent[player] = plain(act({**message, "remainingOverageTime": 60.0}))
        assert referee.play(sent) == {}
        actions.append(json.dumps(sent))
        observations.append(referee.observation)
    metadata = {"seed": 3, "players": dict(zip(PLAYERS, names)), "winner": "left", "reason": "left has more lichen."}
    return write_replay(folder / "replay.json.gz", observations, actions, metadata, referee.env_cfg)


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return play_here(tmp_path_factory.mktemp("replay"), ("farmer", "miner"), 30)


def untrained() -> tuple[Policy, ActionConfig, bool]:
    torch.manual_seed(0)
    actions = ActionConfig()
    policy = Policy(PolicyConfig(width=32, channels=4), policy_sizes(actions))
    return policy.eval(), actions, False


def play_ours(folder: Path, turns: int) -> Path:
    """As `play_here`, with two untrained policies; whether they record is up to the environment."""
    cfg = Referee(3, env_settings(24)).env_cfg
    players = [Player(name, cfg, untrained()) for name in PLAYERS]
    acts = [lambda message, player=player: player.act(message["obs"], 60.0) for player in players]
    path = play_here(folder, ("ours", "also ours"), turns, 24, acts)
    assert [player.errors for player in players] == [0, 0]
    return path


# ------------------------------------------------------------------------------------------------------------- thoughts


def test_recording_thoughts_changes_no_action_and_says_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plain", "recorded", "thoughts"):
        (tmp_path / name).mkdir()
    without = read_replay(play_ours(tmp_path / "plain", 12))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "thoughts"))
    recorded = read_replay(play_ours(tmp_path / "recorded", 12))
    assert recorded == without
    seen = 0
    for player in PLAYERS:
        turns = read_thoughts(str(tmp_path / "thoughts"), player)
        assert [turn["step"] for turn in turns] == list(range(turns[0]["step"], len(recorded["actions"])))
        for turn in turns:
            obs, sent = recorded["observations"][turn["step"]], recorded["actions"][turn["step"]][player]
            assert {row[0] for row in turn["rows"]} == set(obs["units"][player]) | set(obs["factories"][player])
            for name, value, (kind, *_), chances, kinds in turn["rows"]:
                assert np.isfinite(value) and all(0 < p <= 1 for p in chances)
                shares = dict(kinds)
                assert 0.9 < sum(shares.values()) < 1.01 and abs(shares[kind] - chances[0]) < 0.002
                if name.startswith("factory"):  # 7 builds a light, 8 a heavy robot, 9 waters; these are orders 0, 1, 2
                    assert sent.get(name, -3) == (kind - 7 if kind else -3)
                    seen += 1
    assert seen > 10


def test_a_thoughts_folder_that_is_gone_costs_no_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    play_ours(tmp_path, 2)
    assert capfd.readouterr().err.count("Thoughts are not recorded any more") == 2


@pytest.mark.parametrize("junk", [b"{", b"[1]\n", b'{"step": "3", "rows": []}\n', b"\xff\n", b'{"step": 1}\n'])
def test_thoughts_end_at_the_first_line_that_is_none(junk: bytes, tmp_path: Path) -> None:
    good = b'{"step": 5, "rows": []}\n'
    (tmp_path / "player_0.jsonl").write_bytes(good + junk + good)
    assert read_thoughts(str(tmp_path), "player_0") == [{"step": 5, "rows": []}]
    assert read_thoughts(str(tmp_path), "player_1") == []


def test_thoughts_without_a_replay_are_refused() -> None:
    with pytest.raises(ValueError, match="Thoughts are recorded in a replay"):
        play_match("idle", "idle", seed=1, record_thoughts=True)


@pytest.mark.slow
def test_a_match_of_a_checkpoint_records_its_thoughts(tmp_path: Path) -> None:
    result = play_match(write_checkpoint(tmp_path / "run"), "idle", 2, 24, replay=tmp_path / "r.json.gz", record_thoughts=True)
    thoughts = read_replay(tmp_path / "r.json.gz")["thoughts"]
    assert result.turns > 20 and thoughts["player_1"] == [] and len(thoughts["player_0"]) >= result.turns - 1
    plainly = play_match(write_checkpoint(tmp_path / "again"), "idle", 2, 24, replay=tmp_path / "s.json.gz")
    assert (plainly.reason, plainly.turns) == (result.reason, result.turns)
    assert "thoughts" not in read_replay(tmp_path / "s.json.gz")
    assert write_page(tmp_path / "r.json.gz", tmp_path / "page.html").frames == len(read_replay(tmp_path / "r.json.gz")["observations"])


# -------------------------------------------------------------------------------------------------------------- reading


def header(path: Path) -> dict[str, Any]:
    return json.loads(packed_lines(read_recording(path))[0])


def test_curves_are_the_replays_totals(replay: Path) -> None:
    data, shown = read_replay(replay), header(replay)
    last = data["observations"][-1]
    lichen = sum(np.array(list(turn["board"]["lichen"].values()) or [0]).astype(bool).sum() for turn in data["observations"][1:])
    assert lichen > 0 and shown["curves"]["lichen"][0][-1] > 0 == shown["curves"]["lichen"][1][-1]
    for side, player in enumerate(PLAYERS):
        units, factories = last["units"][player].values(), last["factories"][player].values()
        assert shown["curves"]["robots"][side][-1] == len(units)
        assert shown["curves"]["power"][side][-1] == sum(thing["power"] for thing in (*units, *factories))
        assert shown["curves"]["water"][side][-1] == sum(f["cargo"]["water"] for f in factories) + last["teams"][player]["water"]
    assert shown["frames"] == len(data["observations"]) == len(shown["curves"]["lichen"][0])
    assert sum(event[1] == "placed" for event in shown["events"]) == 2 * shown["perTeam"]


def test_events_are_what_changed(fought: Path) -> None:
    """Robots built and lost by side, factories placed and lost, and the first turn that shows lichen of a side."""
    data, shown = read_replay(fought), header(fought)
    told: dict[tuple[str, int, int], list[list[Any]]] = {}
    for t, what, side, *rest in shown["events"]:
        told.setdefault((what, t, side), []).append(rest)
    view = View()
    seen: set[int] = set()
    wanted: dict[tuple[str, int, int], list[list[Any]]] = {}
    observations = data["observations"]
    for t, (before, after) in enumerate(zip([observations[0], *observations], observations)):
        view.update({"obs": after, "step": t, "remainingOverageTime": 0, "player": PLAYERS[0], "info": {}})
        for side, player in enumerate(PLAYERS):
            old, new = before["units"].get(player, {}), after["units"].get(player, {})
            for what, here, there in (("built", new, old), ("lost", old, new)):
                names = [name for name in here if name not in there]
                if names:
                    kinds = [sorted(int(name[5:]) for name in names if here[name]["unit_type"] == kind) for kind in ("HEAVY", "LIGHT")]
                    wanted[what, t, side] = [kinds]
            old, new = before["factories"].get(player, {}), after["factories"].get(player, {})
            for what, names in (("placed", new.keys() - old.keys()), ("fell", old.keys() - new.keys())):
                if names:
                    wanted[what, t, side] = [[int(name[8:])] for name in sorted(names)]
            strains = (after["teams"].get(player) or {"factory_strains": []})["factory_strains"]
            grown = [strain for strain in strains if view.boards["lichen"][view.boards["lichen_strains"] == strain].any()]
            if grown and side not in seen:
                seen.add(side)
                wanted["lichen", t, side] = [[grown[0]]]
    assert told == wanted and {"built", "placed", "lichen"} <= {what for what, *_ in wanted}


def test_a_real_kaggle_episode() -> None:
    data = read_json(KAGGLE)
    recording, shown = read_recording(KAGGLE), header(KAGGLE)
    assert recording.reason == "The episode is over and left has the higher reward (854 : 0)." and recording.winner == "left"
    rewards = [[agent["reward"] for agent in step] for step in data["steps"]]
    started = next(t for t, obs in enumerate(recording.observations) if obs["real_env_steps"] > 0)
    curves = list(zip(*shown["curves"]["lichen"]))
    assert [list(pair) for pair in curves[started:]] == rewards[started:]  # Kaggle's reward is the side's lichen
    assert recording.actions[0] == {player: agent["action"] for player, agent in zip(PLAYERS, data["steps"][1])}
    assert len(recording.actions) == len(recording.observations) - 1 and shown["seed"] == 7


@pytest.mark.parametrize(
    ("changes", "winner", "reason"),
    [
        ({"statuses": ["TIMEOUT", "DONE"]}, "right", "left ran out of time."),
        ({"statuses": ["DONE", "ERROR"]}, "left", "right crashed."),
        ({"statuses": ["INVALID", "ERROR"]}, "draw", "left sent an invalid action and right crashed."),
        ({"rewards": [5, 5]}, "draw", "The episode is over and both sides have the same reward (5 : 5)."),
        ({"statuses": ["ACTIVE", "ACTIVE"]}, "", "The recording ends before the match is over."),
        ({"info": {"TeamNames": ["Ann", "Bob"]}}, "left", "The episode is over and left has the higher reward (854 : 0)."),
    ],
)
def test_verdicts_of_kaggle(changes: dict[str, Any], winner: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text(json.dumps({**read_json(KAGGLE), **changes}))
    recording = read_recording(tmp_path / "e.json")
    assert (recording.winner, recording.reason) == (winner, reason)
    assert recording.names == (("Ann", "Bob") if "info" in changes else ("left", "right"))


def test_replays_of_the_official_runner_have_whole_boards_and_no_rules(replay: Path, tmp_path: Path) -> None:
    """Its observations are whole unless asked otherwise, and the result is not in them."""
    data = read_replay(replay)
    board: dict[str, Any] = {}
    whole = copy.deepcopy(data["observations"])
    for obs in whole:
        for name in ("rubble", "lichen", "lichen_strains"):
            shown = obs["board"][name]
            if isinstance(shown, dict):
                for place, value in shown.items():
                    x, y = map(int, place.split(","))
                    board[name][x][y] = value
            else:
                board[name] = shown
            obs["board"][name] = copy.deepcopy(board[name])
    (tmp_path / "runner.json").write_text(
        json.dumps({"observations": whole, "actions": data["actions"], "metadata": {}, "default_seed": 3})
    )
    ours, theirs = packed_lines(read_recording(replay)), packed_lines(read_recording(tmp_path / "runner.json"))
    assert ours[1:] == theirs[1:]
    assert json.loads(theirs[0])["reason"] == "The recording ends before the match is over."


def test_same_replay_same_page_and_nothing_from_outside(replay: Path, tmp_path: Path) -> None:
    report = write_page(replay, tmp_path / "a.html")
    write_page(replay, tmp_path / "b.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert (tmp_path / "b.html").read_text(encoding="utf-8") == text and report.size_bytes == len(text.encode())
    assert "http:" not in text and "https:" not in text and "@import" not in text and "{{" not in text
    assert "default-src 'none'" in text and report.names == ("farmer", "miner")


# -------------------------------------------------------------------------------------------------------------- refused


def broken(data: dict[str, Any], how: str) -> Any:
    """A replay with one thing wrong."""
    observations = data["observations"]
    robot = next(iter(observations[-1]["units"]["player_0"].values()))
    if how == "a first state that shows changes only":
        observations[0]["board"]["rubble"] = {}
    elif how == "a state without robots":
        del observations[7]["units"]
    elif how == "a robot off the map":
        robot["pos"][0] = 48
    elif how == "a map of another size":
        data["env_cfg"]["map_size"] = 64
    elif how == "no states":
        observations.clear()
    elif how == "states of another game":
        data["observations"] = [{"units": {"position": []}, "relic_nodes": []}] * 3
    elif how == "version 2.0":
        for obs in observations:
            for team in obs["teams"].values():
                del team["bid"]
    elif how == "as many actions as states":
        data["actions"].append({})
    elif how == "words for cargo":
        robot["cargo"]["ice"] = "much"
    elif how == "thoughts of another make":
        data["thoughts"] = {"player_0": [{"step": 20, "rows": [{"value": 3}]}]}
    return data


BROKEN = {
    "a first state that shows changes only": "shows changes of rubble only",
    "a state without robots": "State 7 of the replay is not one of Lux AI Season 2: it has no 'units'",
    "a robot off the map": "is off the map",
    "a map of another size": "a board has the shape",
    "no states": "is no replay of Lux AI Season 2",
    "states of another game": "is no replay of Lux AI Season 2",
    "version 2.0": "it was recorded by version 2.0 of the game, whose rules differ",
    "as many actions as states": "where there is one action less",
    "words for cargo": "State .* is not one of Lux AI Season 2",
    "thoughts of another make": "is no",
}


def test_the_official_page_holds_a_replay(replay: Path, tmp_path: Path) -> None:
    text = json.dumps(read_replay(replay))
    (tmp_path / "r.html").write_text(f"<!DOCTYPE html>\n<script>\nwindow.episode = {text};\n    </script>")
    assert packed_lines(read_recording(tmp_path / "r.html")) == packed_lines(read_recording(replay))


def test_a_replay_unpacks_to_no_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(b" " * (64 << 20)))
    monkeypatch.setattr(arena.replay, "UNPACKED_LIMIT", 1 << 20)
    tracemalloc.start()
    with pytest.raises(ValueError, match="it has more than 1 MiB"):
        read_recording(tmp_path / "r.json.gz")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


ODD: list[Any] = [None, True, -1, 10**30, 1e300, float("nan"), "x", [], {}, [[]], {"a": 1}]


def kinds(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to a value of each kind: in the first and the last observation, of one side, of one of the robots."""
    children = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    if len(path) == 1 and len(children) > 2:
        children = [children[0], children[-1]]
    shown = set()
    for key, child in children:
        kind = re.sub(r"\d+(,\d+)?", "", str(key))
        if kind not in shown or len(path) == 1:
            shown.add(kind)
            yield (*path, key)
            yield from kinds(child, (*path, key))


def damaged(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """JSON with one of its values replaced, or gone."""
    whole = copy.deepcopy(value)
    place = whole
    for key in path[:-1]:
        place = place[key]
    if odd == "gone":
        del place[path[-1]]
    else:
        place[path[-1]] = odd
    return whole


def test_damaged_replays_are_pages_or_sentences(replay: Path, tmp_path: Path) -> None:
    generator, refused = random.Random(1), 0
    whole = read_replay(replay)
    short = {**whole, "observations": whole["observations"][:12], "actions": whole["actions"][:11]}
    found = [path for path in kinds(short) if path[0] != "env_cfg"]
    for path in found:
        for odd in generator.sample([*ODD, "gone"], 2):
            (tmp_path / "r.json").write_text(json.dumps(damaged(short, path, odd)))
            try:
                write_page(tmp_path / "r.json", tmp_path / "page.html")
            except ValueError as error:
                refused += 1
                assert len(str(error)) < 500
    assert refused > len(found) > 50


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_replay_is_a_sentence(how: str, replay: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(broken(read_replay(replay), how)))
    with pytest.raises(ValueError, match=BROKEN[how]):
        write_page(tmp_path / "r.json", tmp_path / "out" / "page.html")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a whole replay"),
        (b'{"observations": [', "is not a whole replay"),
        (b"<!doctype html>", "it is a web page, and none of the official runner's"),
        (b"<script>window.episode = {", "is not a whole replay"),
        (b"1" * 5000, "is not a whole replay"),
        (b"[" * 100_000, "is not a whole replay"),
        (b"[1, 2]", "is no replay: it has neither"),
        (b'{"seed": 1, "allCommands": []}', "is no replay: it has neither"),
        (b'{"name": "connectx", "steps": [[]], "rewards": [0, 1]}', "it is an episode of connectx"),
        (b'{"name": "lux_ai_s3", "steps": [[]], "rewards": [0, 1]}', "it is an episode of lux_ai_s3"),
        (b'{"name": "lux_ai_s2", "steps": [], "rewards": [0, 1]}', "is no replay of Lux AI Season 2"),
        (b'{"name": "lux_ai_s2", "steps": [[{"observation": {}}]], "rewards": [0, 1]}', "step 0 shows no observation"),
        (b'{"name": "lux_ai_s2", "steps": 3, "rewards": [0, 1]}', "is no replay of Lux AI Season 2"),
    ],
)
def test_no_replay_is_a_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        write_page(tmp_path / "r.json", tmp_path / "page.html")
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=words):
        write_page(tmp_path / "r.json.gz", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_files_that_cannot_be_read_or_written_are_sentences(replay: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        write_page(tmp_path / "none.json", tmp_path / "page.html")
    with pytest.raises(ValueError, match="is a folder; name a file"):
        write_page(replay, tmp_path)
    (tmp_path / "cut.json.gz").write_bytes(replay.read_bytes()[:-200])
    with pytest.raises(ValueError, match="is not a whole replay"):
        write_page(tmp_path / "cut.json.gz", tmp_path / "page.html")


def test_orders_may_be_anything(replay: Path, tmp_path: Path) -> None:
    """What a bot sent is in the replay as it sent it, the turn that lost it the match included."""
    data = read_replay(replay)
    odd = [None, [], {"player_0": 3, "player_1": {"factory_x": 1, "unit_": [], "7": {}, "factory_0": [1], "unit_99999999": []}}]
    odd += [{"player_0": {"bid": "all", "spawn": [1]}}, {"player_0": {"spawn": ["a", None]}}, {"player_1": {"factory_1": 2.0, "unit_6": 5}}]
    for t, action in enumerate(odd * 5):
        data["actions"][t] = action
    (tmp_path / "r.json").write_text(json.dumps(data))
    assert write_page(tmp_path / "r.json", tmp_path / "page.html").frames == len(data["observations"])


def test_the_verb(replay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["replay", str(replay), "-o", "deep/p.html"]) == 0
    assert "turns of farmer against miner" in capsys.readouterr().out
    assert Path("deep", "p.html").stat().st_size > 20_000
    assert main(["replay", __file__]) == 2
    assert "is not a whole replay" in capsys.readouterr().err and not Path("page.html").exists()
    assert main(["play", "idle", "idle", "--record-thoughts"]) == 2
    assert "name its file with --replay" in capsys.readouterr().err
