"""How the reaper keeps enemies off its fields, and its robots out of their way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.scripted.farmer.bot import BUILD_LIGHT, Farm, Habits, dodge
from agent.scripted.farmer.turn import Turn, step_to
from agent.scripted.paths import MOVE, STEPS
from agent.scripted.protocol import View
from agent.scripted.reaper.bot import Reap, act
from agent.scripted.reaper.guard import drive_off, intruders
from engine.config import GameConfig

SIZE = 48
HOME, FAR_HOME = (10, 10), (40, 40)
FIELD = (14, 10)  # own lichen, the only one


def robot(name: str, cell: tuple[int, int], power: int, heavy: bool = True, queue: list[list[int]] | None = None) -> dict[str, Any]:
    return {
        "unit_id": name,
        "pos": list(cell),
        "power": power,
        "unit_type": "HEAVY" if heavy else "LIGHT",
        "cargo": {"ice": 0, "ore": 0, "water": 0, "metal": 0},
        "action_queue": queue or [],
    }


def factory(name: str, cell: tuple[int, int], number: int) -> dict[str, Any]:
    cargo = {"ice": 0, "ore": 0, "water": 500, "metal": 0}
    return {"unit_id": name, "pos": list(cell), "power": 0, "cargo": cargo, "strain_id": number}


def view(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], step: int = 300) -> View:
    """Flat ground without ice or ore; each side has one factory, and there is one tile of our lichen."""
    boards = {name: np.zeros((SIZE, SIZE), int).tolist() for name in ("rubble", "ice", "ore", "lichen")}
    boards["lichen_strains"] = np.full((SIZE, SIZE), -1).tolist()
    boards["lichen"][FIELD[0]][FIELD[1]] = 50
    boards["lichen_strains"][FIELD[0]][FIELD[1]] = 0
    obs = {
        "units": {"player_0": {shown["unit_id"]: shown for shown in ours}, "player_1": {shown["unit_id"]: shown for shown in theirs}},
        "factories": {
            "player_0": {"factory_0": factory("factory_0", HOME, 0)},
            "player_1": {"factory_1": factory("factory_1", FAR_HOME, 1)},
        },
        "board": boards,
        "teams": {},
        "real_env_steps": step,
    }
    seen = View()
    info = {"env_cfg": GameConfig.for_map_size(SIZE).official()}
    seen.update({"obs": obs, "step": step + 10, "remainingOverageTime": 60, "player": "player_0", "info": info})
    return seen


@pytest.mark.parametrize(
    ("cell", "heavy", "found"),
    [(FIELD, True, True), ((15, 10), True, True), ((16, 10), True, False), (FIELD, False, False), (FAR_HOME, True, False)],
)
def test_an_intruder_is_a_heavy_on_or_beside_our_lichen(cell: tuple[int, int], heavy: bool, found: bool) -> None:
    turn = Turn(view([], [robot("foe", cell, 100, heavy)]))
    assert [enemy.name for enemy in intruders(turn)] == ["foe"] * found


@pytest.mark.parametrize(
    ("cell", "power", "goes"),
    [
        ((14, 13), 1000, True),  # three steps away, with as much power
        ((14, 13), 999, False),
        ((14, 11), 200, True),  # next to it: one that stands still is destroyed whatever its power
        ((14, 11), 100, False),  # too little to turn on anybody
        ((14, 17), 2000, False),  # too far
    ],
)
def test_a_heavy_turns_on_an_intruder_it_can_beat(cell: tuple[int, int], power: int, goes: bool) -> None:
    turn = Turn(view([robot("guard", cell, power), robot("light", (13, 10), 150, heavy=False)], [robot("foe", FIELD, 1000)]))
    assert drive_off(turn, list(turn.robots.values())) == ({"guard"} if goes else set())
    if goes:
        assert turn.orders["guard"] == [[MOVE, 1, 0, 0, 0, cell[1] - FIELD[1]]]


def test_two_intruders_are_met_by_two_and_one_by_the_nearest() -> None:
    ours = [robot("near", (14, 12), 2000), robot("far", (14, 14), 2000)]
    turn = Turn(view(ours, [robot("foe", FIELD, 1000)]))
    assert drive_off(turn, list(turn.robots.values())) == {"near"}
    turn = Turn(view(ours, [robot("foe", FIELD, 1000), robot("other", (13, 10), 1000)]))
    assert drive_off(turn, list(turn.robots.values())) == {"near", "far"}


def test_two_guards_do_not_enter_one_cell() -> None:
    """The nearest goes for the nearest intruder through where another one stands; nobody else is sent there."""
    ours = [robot("a", (14, 12), 2000), robot("b", (15, 11), 2000)]
    turn = Turn(view(ours, [robot("foe", FIELD, 1000), robot("other", (14, 11), 1000)]))
    drive_off(turn, list(turn.robots.values()))
    ends = [step_to(turn.robots[name].cell, plan[0][1]) for name, plan in turn.orders.items()]
    assert len(ends) == len(set(ends)) > 0


def test_the_farm_and_the_reapers_leave_a_guard_alone() -> None:
    """Its order stands, whether it worked for the farm or reaped."""
    seen = view([robot("guard", (14, 12), 2000)], [robot("foe", FIELD, 1000)], step=900)
    seen.boards["lichen"][20, 20], seen.boards["lichen_strains"][20, 20] = 50, 1  # something to reap
    for reapers in (set(), {"guard"}):
        reap = Reap()
        reap.reapers = set(reapers)
        assert act(reap, seen)["guard"] == [[MOVE, 1, 0, 0, 0, 2]]


def test_a_guard_still_works_for_its_farm() -> None:
    """It keeps its home but no tile that others could dig, and the factory, whose only heavy it is, builds a light."""
    seen = view([robot("guard", (14, 12), 2000)], [robot("foe", FIELD, 1000)])
    reap = Reap()
    reap.farm.home["guard"], reap.farm.job["guard"], reap.farm.target["guard"] = "factory_0", "ore", (20, 20)
    orders = act(reap, seen)
    assert orders["guard"] == [[MOVE, 1, 0, 0, 0, 2]]
    assert reap.farm.home == {"guard": "factory_0"} and not reap.farm.job and not reap.farm.target
    seen.factories("player_0")["factory_0"].update(power=600)
    seen.factories("player_0")["factory_0"]["cargo"].update(metal=100)
    assert act(reap, seen)["factory_0"] == BUILD_LIGHT


def test_who_has_guarded_in_the_last_turns_goes_back_to_its_ice() -> None:
    """Its factory has no water to spare, so it does not reap."""
    reap = Reap()
    reap.farm.home["guard"], reap.farm.job["guard"] = "factory_0", "ice"
    ours, field = [robot("guard", (14, 12), 2000)], robot("foe", FIELD, 1000)
    for step, theirs in ((945, [field]), (946, [])):
        seen = view(ours, theirs, step)
        seen.factories("player_0")["factory_0"]["cargo"].update(water=20)
        act(reap, seen)
        assert not reap.reapers and reap.farm.home == {"guard": "factory_0"}


def test_a_chased_robot_goes_home_where_that_is_the_habit() -> None:
    """An enemy with more power stands beside it; by the farmer's habit it walks onto that, which a moving one survives."""
    cell = (20, 10)
    for habits, step in ((Habits(flees_home=True), 4), (Habits(), 2)):
        farm = Farm(habits)
        turn = Turn(view([robot("ours", cell, 500)], [robot("foe", (21, 10), 2000)]))
        farm.home["ours"] = "factory_0"
        assert dodge(farm, turn, turn.robots["ours"])
        assert turn.orders["ours"][0][1] == step
    assert STEPS[4] == (-1, 0)  # towards the factory


def test_memory_is_copied_and_set() -> None:
    reap, other = Reap(), Reap()
    reap.reapers.add("unit_1")
    reap.farm.home["unit_1"] = "factory_0"
    other.memory = reap.memory
    assert other.memory == reap.memory
    other.farm.home["unit_1"] = "factory_2"
    assert reap.farm.home["unit_1"] == "factory_0"
