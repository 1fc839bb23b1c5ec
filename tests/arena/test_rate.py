"""Ratings: planted strengths come out in order, no game is lost or repeated, and wrong inputs get a sentence."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.plain import to_dict
from agent.policy import Policy, PolicyConfig, policy_sizes
from arena.rating import matches
from arena.rating.entrants import Entrant, Field
from arena.rating.matches import Pairing, Setup, Task, play_tasks
from arena.rating.report import markdown, print_table, write_report
from arena.rating.results import Game, Results, read_game
from arena.rating.standings import certain, connected, tabulate, wilson
from arena.rating.tournament import RATING_SEEDS, Rules, pairs_of, run
from main import main
from submission.package import collect_modules
from training.presets import PRESETS
from training.run import checkpoint

ROOT = Path(__file__).resolve().parents[2]
SIZE = 24


def game(left: str, right: str, winner: Any = "left", seed: int = 1, **changes: Any) -> Game:
    """A game as a referee would tell it."""
    made = Game((left, right), (f"n-{left}", f"n-{right}"), 48, seed, "fast", winner, "a reason.", 1000, (7, 3), (2, 0), (None, None))
    return replace(made, **changes)


def planted(strengths: dict[str, float], games: int, seed: int = 0) -> list[Game]:
    """A round robin of players who win with the logistic probability of their strengths' difference, or draw now and then."""
    rng = random.Random(seed)
    names = sorted(strengths)
    played = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            for k in range(games):
                left, right = (a, b) if k % 2 == 0 else (b, a)
                chance = 1 / (1 + math.exp(strengths[right] - strengths[left]))
                winner = "draw" if rng.random() < 0.1 else "left" if rng.random() < chance else "right"
                played.append(game(left, right, winner, k // 2))
    return played


def stored_checkpoint(folder: Path, seed: int) -> Path:
    """A checkpoint of an untrained policy that does what the demo's preset offers."""
    torch.manual_seed(seed)
    config = replace(PRESETS["demo"], policy=PolicyConfig(width=16, channels=4))
    policy = Policy(config.policy, policy_sizes(config.actions, config.policy))
    values = {"train": to_dict(config), "policy": policy.full_config(), "actions": to_dict(config.actions)}
    return checkpoint.save(folder, values, policy.state_dict())


# the mathematics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_planted_strengths_come_out_in_order(seed: int) -> None:
    table = tabulate(planted({"a": 2.0, "b": 0.0, "c": 4.0, "d": -2.0}, 60, seed))
    assert [standing.ident for standing in table.standings] == ["c", "a", "b", "d"]
    rates = [standing.total.score / standing.total.games for standing in table.standings]
    assert rates == sorted(rates, reverse=True)


def test_more_games_make_ratings_more_certain() -> None:
    few, many = (tabulate(planted({"a": 0.5, "b": 0.0}, games)) for games in (8, 80))
    assert many.standings[0].margin < few.standings[0].margin


def test_the_table_is_the_same_in_any_order_of_games() -> None:
    games = planted({"a": 1.0, "b": 0.0, "c": 0.5}, 10)
    shuffled = random.Random(1).sample(games, len(games))
    assert tabulate(shuffled) == tabulate(games)


def test_the_cross_table_adds_up() -> None:
    games = planted({"a": 1.0, "b": 0.0, "c": 0.5, "d": 0.2}, 12)
    table = tabulate(games)
    assert sum(meeting.games for meeting in table.cross.values()) == 2 * len(games)
    for (me, other), meeting in table.cross.items():
        back = table.cross[other, me]
        assert (meeting.wins, meeting.draws, meeting.losses) == (back.losses, back.draws, back.wins)
        assert meeting.games == 12 and meeting.score + back.score == 12
    for standing in table.standings:
        row = [meeting for (me, _), meeting in table.cross.items() if me == standing.ident]
        assert sum(meeting.games for meeting in row) == standing.total.games == 36
        assert sum(meeting.score for meeting in row) == standing.total.score


def test_lichen_survival_and_faults_are_those_of_the_player() -> None:
    games = [
        game("a", "b", "left", 1),
        game("b", "a", "left", 1, lichen=(0, 5), factories=(1, 0), errors=(None, "lost all factories")),
        game("a", "b", "right", 2, factories=(3, 3), errors=("timed out after 9 seconds", None)),
    ]
    by_ident = {standing.ident: standing for standing in tabulate(games).standings}
    assert (by_ident["a"].lichen, by_ident["b"].lichen) == ((7 + 5 + 7) / 3, (3 + 0 + 3) / 3)
    assert (by_ident["a"].survival, by_ident["a"].faults) == (1 / 3, 1)
    assert (by_ident["b"].survival, by_ident["b"].faults) == (2 / 3, 0)


@pytest.mark.parametrize(("score", "games", "level"), [(15, 20, 0.95), (0, 10, 0.95), (10, 10, 0.99), (3.5, 7, 0.9)])
def test_wilson_bounds_solve_their_equation(score: float, games: int, level: float) -> None:
    """A bound p is where the observed rate lies z standard deviations of p away."""
    z = -_quantile((1 - level) / 2)
    for bound in wilson(score, games, level):
        assert 0 <= bound <= 1
        assert math.isclose((score / games - bound) ** 2, z * z * bound * (1 - bound) / games, abs_tol=1e-9)


def _quantile(chance: float) -> float:
    """Of the normal distribution, by bisection of its distribution function."""
    low, high = -9.0, 9.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(-middle / math.sqrt(2)) / 2 < chance else (low, middle)
    return low


def test_wilson_holds_the_truth_as_often_as_promised() -> None:
    rng = random.Random(0)
    held = 0
    for _ in range(2000):
        low, high = wilson(sum(rng.random() < 0.8 for _ in range(40)), 40)
        held += low <= 0.8 <= high
    assert 0.93 <= held / 2000 <= 0.97
    assert wilson(0, 0) == (0.0, 1.0)


def test_an_order_is_certain_only_when_every_neighbour_is_beaten_surely() -> None:
    sure = [game(*pair, "left", k) for k in range(40) for pair in (("a", "b"), ("b", "c"), ("a", "c"))]
    even = [game("a", "b", "left" if k % 2 else "right", k) for k in range(40)] + [game("b", "c", "left", k) for k in range(40)]
    players = ["a", "b", "c"]
    assert certain(tabulate(sure), players, [], 0.95, 4)
    assert not certain(tabulate(sure[:12]), players, [], 0.95, 4)  # four games a pair are too few
    assert not certain(tabulate(even), players, [], 0.95, 4)
    assert not certain(tabulate(sure), [*players, "d"], [], 0.95, 4)  # one has not played


def test_two_of_the_pool_need_no_order() -> None:
    games = [game("a", other, "left", k) for k in range(40) for other in ("p", "q")]
    assert certain(tabulate(games), ["a"], ["p", "q"], 0.95, 1)
    assert not certain(tabulate(games), ["a", "p", "q"], [], 0.95, 1)


def test_stopping_early_is_rarely_wrong() -> None:
    """Of equal players the order is called certain in at most 5 % of tournaments, over all looks together."""
    wrong = 0
    for seed in range(150):
        games = planted({"a": 0.0, "b": 0.0, "c": 0.0}, 64, seed)
        looks = [8, 16, 32]
        wrong += any(certain(tabulate([g for g in games if g.seed < n // 2]), ["a", "b", "c"], [], 0.95, 4) for n in looks)
    assert wrong <= 0.05 * 150


def test_only_those_are_compared_who_have_met() -> None:
    games = [game("a", "b"), game("b", "c"), game("x", "y")]
    assert connected(games, ["a"]) == games[:2]
    assert connected(games, ["y", "z"]) == games[2:]


def test_stages_double_up_to_all_games() -> None:
    assert Rules(games=100, confidence=0.9).stages() == [8, 16, 32, 64, 100]
    assert Rules(games=6, confidence=0.9).stages() == [6]
    assert Rules(games=100).stages() == [100]
    assert pairs_of(3, 0) == [(0, 1), (0, 2), (1, 2)] and pairs_of(2, 2) == [(0, 2), (0, 3), (1, 2), (1, 3)]


# the results file -----------------------------------------------------------------------------------------------------


def test_results_come_back_and_each_game_counts_once(tmp_path: Path) -> None:
    games = planted({"a": 1.0, "b": 0.0}, 6)
    with Results(tmp_path / "deep" / "r.jsonl", write=True) as results:
        for each in (*games, games[0]):
            results.add(each)
    with Results(tmp_path / "deep" / "r.jsonl") as results:
        assert results.games == games and games[3].key in results and (48, 99, "a", "b") not in results


@pytest.mark.parametrize("rest", ['{"format":1,"pl', "{", '{"format":1}'])
def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "r.jsonl"
    first, second = planted({"a": 1.0, "b": 0.0}, 2)
    path.write_text(first.line() + rest)
    with Results(path) as results:
        assert results.games == [first]
    assert path.read_text() == first.line() + rest  # reading changes nothing
    with Results(path, write=True) as results:
        results.add(second)
    assert path.read_text() == first.line() + second.line()


def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for text, words in (
        ("nonsense\n", "Line 1 of .* cannot be read"),
        (game("a", "b").line() + '{"format":9}\n', "Line 2 of .* not a game of format 1"),
        (game("a", "b").line().replace('"winner":"left"', '"winner":"up"'), "winner is 'up'"),
        (game("a", "b").line().replace('"turns":1000,', ""), "unknown or missing keys: turns"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            Results(path, write=True)
        assert path.read_text() == text
    with pytest.raises(ValueError, match="is a folder"):
        Results(tmp_path)


def test_lines_of_wrong_types_are_sentences(tmp_path: Path) -> None:
    """Each value of a line, and each half of a pair, in turn of every type that JSON has."""
    path, lines = tmp_path / "r.jsonl", 0
    whole = json.loads(game("a", "b").line())
    odd: list[Any] = [None, True, 1, -1, 1.5, "x", "", [], {}, [1, 2], [None, None], ["a"], [[], []], [{}, {}], float("nan"), 10**400]
    for name in whole:
        for value in odd + ([[whole[name][0], each] for each in odd] if isinstance(whole[name], list) else []):
            path.write_text(json.dumps({**whole, name: value}) + "\n")
            lines += 1
            try:
                with Results(path) as results:
                    print_table(tabulate(results.games), "")
            except ValueError as error:
                assert str(error).startswith(f"Line 1 of {path} cannot be read: ") and len(str(error)) < 400
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(ValueError, match="Line 1 of .* cannot be read"):
        Results(path)
    assert lines > 200


def test_one_run_at_a_time_adds_to_a_file(tmp_path: Path) -> None:
    with Results(tmp_path / "r.jsonl", write=True), pytest.raises(ValueError, match="Another run is adding to"):
        Results(tmp_path / "r.jsonl", write=True)
    Results(tmp_path / "r.jsonl", write=True).close()


# who plays ------------------------------------------------------------------------------------------------------------


def test_an_identity_follows_what_plays_and_not_where_it_lies(tmp_path: Path) -> None:
    one = stored_checkpoint(tmp_path / "one", 1)
    two = stored_checkpoint(tmp_path / "two", 2)
    copy = stored_checkpoint(tmp_path / "copy", 1)
    with Field([str(one), str(two), "idle"]) as field:
        idents = [entrant.ident for entrant in field.entrants]
        assert len(set(idents)) == 3 and [entrant.in_process for entrant in field.entrants] == [True] * 3
        folder = field.folder
    assert not folder.exists()
    with pytest.raises(ValueError, match="are the same player"):
        Field([str(one), str(copy)])
    (tmp_path / "one").rename(tmp_path / "old")
    stored_checkpoint(tmp_path / "one", 3)
    with Field([str(one), str(tmp_path / "old")]) as field:
        assert field.entrants[0].ident not in idents and field.entrants[1].ident == idents[0]


def bot(folder: Path, extra: str = "") -> Path:
    """Opponent `idle` as somebody else's folder."""
    folder.mkdir()
    text = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{extra}\n"
    text += "from agent.scripted.idle.main import make\nfrom agent.scripted.protocol import serve_view\nserve_view(make())\n"
    (folder / "main.py").write_text(text)
    return folder


def test_a_changed_program_is_another_player(tmp_path: Path) -> None:
    folder = bot(tmp_path / "bot")
    with Field([str(folder)]) as field:
        before = field.entrants[0]
    assert before.kind == "program" and not before.in_process
    (folder / "bot.log").write_text("said")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("compiled")
    with Field([str(folder)]) as field:
        assert field.entrants[0].ident == before.ident
    (folder / "table.txt").write_text("1")
    with Field([str(folder)]) as field:
        assert field.entrants[0].ident != before.ident


# tournaments ----------------------------------------------------------------------------------------------------------


def lines(path: Path) -> list[Game]:
    return [read_game(line) for line in path.read_text().splitlines()]


def check_complete(games: list[Game], pairs: int, count: int) -> None:
    """Each pair has played each map from both sides, once."""
    assert len(games) == len({each.key for each in games}) == pairs * count
    for each in games:
        assert RATING_SEEDS <= each.seed < RATING_SEEDS + count // 2
        assert (each.map_size, each.seed, *each.players[::-1]) in {other.key for other in games}


def test_all_games_are_played_once_and_the_order_is_right(tmp_path: Path) -> None:
    player = stored_checkpoint(tmp_path / "untrained", 1)
    path = tmp_path / "r.jsonl"
    told: list[tuple[int, float, int]] = []
    with Field(["idle", "miner", str(player)]) as field, Results(path, write=True) as results:
        rules = Rules(games=2, map_size=SIZE)
        assert run(field, 0, rules, results, lambda *so_far: told.append(so_far)) == (6, 0, False)
        assert run(field, 0, rules, results) == (0, 6, False)
        assert run(field, 1, rules, results) == (0, 4, False)  # the last one is met by the others only
        table = tabulate(results.games)
    check_complete(lines(path), 3, 2)
    assert table.standings[0].name == "miner" and {each.referee for each in lines(path)} == {"fast"}
    assert [ended for ended, _, _ in told] == sorted(ended for ended, _, _ in told)
    assert told[0] == (0, 0.0, 6) and told[-1] == (6, 0.0, 6)
    assert all(0 <= running <= 6 - ended and total == 6 for ended, running, total in told)
    assert max(running for _, running, _ in told) > 0
    assert write_report(table, "A title", tmp_path) == [tmp_path / "ratings.md", tmp_path / "ratings.png"]
    assert (tmp_path / "ratings.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "ratings.md").read_text()
    assert page == markdown(table, "A title", "ratings.png") and "6 games: 6 by the fast referee." in page


def test_the_official_referee_plays_programs_and_the_cause_of_a_loss_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    crashing = bot(tmp_path / "bot", "sys.exit(5)")
    assert main(["rate", "idle", str(crashing), "--games", "2", "--jobs", "1", "--map-size", str(SIZE), "--results", str(path)]) == 0
    games = lines(path)
    check_complete(games, 1, 2)
    assert {each.referee for each in games} == {"official"}
    assert [each.winner for each in games] == ["left", "right"]
    assert "crashed (exit code 5)" in games[0].reason


def test_it_stops_when_the_order_is_certain(tmp_path: Path) -> None:
    with Field(["idle", "miner"]) as field, Results(tmp_path / "r.jsonl", write=True) as results:
        ending = run(field, 0, Rules(games=64, map_size=SIZE, confidence=0.95), results)
        assert ending.early and ending.played in (8, 16)
        assert run(field, 0, Rules(games=64, map_size=SIZE, confidence=0.95), results) == (0, ending.played, True)


def rate_command(path: Path, jobs: int, games: int) -> list[str]:
    size = ["--map-size", str(SIZE), "--results", str(path)]
    return [sys.executable, str(ROOT / "main.py"), "rate", "idle", "miner", "--games", str(games), "--jobs", str(jobs), *size]


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def gone(pids: list[int], seconds: float) -> bool:
    """Whether all these processes end within some time (a zombie has ended)."""
    deadline = time.time() + seconds
    while time.time() < deadline:
        states = [Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in pids if Path(f"/proc/{pid}/stat").exists()]
        if all(state == "Z" for state in states):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes the Linux way")
@pytest.mark.parametrize(
    ("end", "jobs"),
    [(signal.SIGKILL, 1), pytest.param(signal.SIGKILL, 2, marks=pytest.mark.slow), pytest.param(signal.SIGINT, 2, marks=pytest.mark.slow)],
)
def test_a_killed_run_goes_on_without_losing_or_repeating_a_game(tmp_path: Path, end: signal.Signals, jobs: int) -> None:
    path, count = tmp_path / "r.jsonl", 12
    # a shell's background job ignores Ctrl-C, and so would what it starts
    first = subprocess.Popen(
        rate_command(path, jobs, count),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.time() + 60
    while (not path.exists() or path.read_text().count("\n") < 3) and time.time() < deadline:
        time.sleep(0.01)
    helpers = children(first.pid)
    first.send_signal(end)
    assert first.wait(30) == (-9 if end == signal.SIGKILL else 130)
    assert gone(helpers, 10)
    kept = path.read_text()
    kept = kept[: kept.rfind("\n") + 1]
    assert 3 <= kept.count("\n") < count
    if end == signal.SIGKILL:
        path.write_text(kept + '{"format":1,"players":["oppo')  # what a kill in the middle of a write leaves
    assert main(rate_command(path, jobs, count)[2:]) == 0
    assert path.read_text().startswith(kept)
    check_complete(lines(path), 1, count)


@pytest.mark.slow
def test_a_process_that_dies_costs_no_game(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    killed: list[int] = []

    def kill_one(done: int, running: float, total: int) -> None:
        if len(killed) < 2 and done >= 2 + 4 * len(killed):
            helper = multiprocessing.active_children()[0]
            helper.kill()
            killed.append(helper.pid or 0)

    with Field(["idle", "miner"]) as field, Results(path, write=True) as results:
        assert run(field, 0, Rules(games=16, map_size=SIZE, jobs=2), results, kill_one) == (16, 0, False)
    check_complete(lines(path), 1, 16)
    assert len(set(killed)) == 2


@pytest.mark.slow
def test_a_player_that_cannot_be_loaded_ends_the_run_with_its_sentence(tmp_path: Path) -> None:
    with Field(["idle", str(stored_checkpoint(tmp_path / "one", 1))]) as field:
        source = Path(field.entrants[1].source)
        (source / "policy.safetensors").write_bytes(b"short")
        setup = Setup(tuple(field.entrants), {}, SIZE, (1, 2, 3, 4))
        tasks = [Task("fast", (Pairing(0, 1, seed),)) for seed in setup.seeds]
        for jobs in (1, 2):
            with pytest.raises(ValueError, match="has 5 bytes"):
                play_tasks(setup, tasks, jobs, lambda game: None, lambda share: None)


def test_the_same_games_are_sampled_in_the_same_way() -> None:
    entrants = tuple(Entrant(name, f"checkpoint:{name}", "checkpoint", name) for name in "ab")
    setup = Setup(entrants, {}, SIZE, (1,))
    seeds = [matches.sampling_seed(setup, Task("fast", (Pairing(*sides, seed),))) for sides in ((0, 1), (1, 0)) for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] and seeds[3] == seeds[4] and len(set(seeds)) == 4


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["idle"], "1 player is given; a rating needs at least two"),
        (["idle", "nobody"], "Player 'nobody' does not exist; accepted are a built-in opponent"),
        (["idle", "idle"], "idle and idle are the same player"),
        (["idle", "latest"], "There is no run with a checkpoint"),
        (["idle", "miner", "--games", "7"], "games is 7; accepted are even numbers from 2"),
        (["idle", "miner", "--games", "0"], "games is 0; accepted are even numbers from 2"),
        (["idle", "miner", "--map-size", "7"], "The map size is 7; accepted are 12 to 64"),
        (["idle", "miner", "--seed", "-1"], "seed is -1"),
        (["idle", "miner", "--jobs", "0"], "jobs is 0; accepted are 1 to 256"),
        (["idle", "miner", "--confidence", "95"], "confidence is 95.0; it must lie between 0.5 and 1"),
        (["idle", "bot", "--referee", "fast"], "The fast referee cannot play bot, a program"),
        (["idle", "bot/notes.txt"], "File bot/notes.txt is no player"),
        ([], "No players are given, and there is no results file"),
    ],
)
def test_wrong_input_gets_a_sentence(argv: list[str], words: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    bot(tmp_path / "bot")
    (tmp_path / "bot" / "notes.txt").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert main(["rate", *argv]) == 2
    assert words in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before  # and leaves nothing behind


def test_a_file_of_results_is_shown_without_playing(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "r.jsonl"
    with Results(path, write=True) as results:
        for each in planted({"a": 2.0, "b": 0.0}, 6):
            results.add(each)
    before = path.read_text()
    assert main(["rate", "--results", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 n-a" in said and "2 n-b" in said and "6 games: 6 by the fast referee" in said
    assert path.read_text() == before and (tmp_path / "ratings.md").is_file()
    assert main(["rate", "--results", str(path), "--map-size", "64"]) == 0
    assert "holds no games on 64x64 maps" in capsys.readouterr().out


def test_versions_of_one_path_are_told_apart() -> None:
    games = [game("checkpoint:aaaaaaaa", "b", names=("runs/x", "b")), game("checkpoint:bbbbbbbb", "b", names=("runs/x", "b"))]
    assert {standing.name for standing in tabulate(games).standings} == {"runs/x (aaaaaa)", "runs/x (bbbbbb)", "b"}
    assert json.loads(games[0].line())["names"] == ["runs/x", "b"]


@pytest.mark.parametrize(("opponent", "module"), [("warden", "agent/tasks/dials.py"), ("reaper", "agent/scripted/farmer/bot.py")])
def test_the_identity_of_a_built_in_opponent_follows_all_that_it_plays_by(opponent, module, monkeypatch):
    def ident() -> str:
        with Field([opponent]) as field:
            return field.entrants[0].ident

    before = ident()
    changed = {**collect_modules((f"agent.scripted.{opponent}.main",))}
    changed[module] += "# another rule"
    monkeypatch.setattr("arena.rating.entrants.collect_modules", lambda entries: changed)
    assert ident() != before
