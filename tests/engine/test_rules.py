"""Rules of the game one at a time: each scene is played on both engines, and its outcome is stated here as well."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from engine.config import SIZE, GameConfig
from engine.state import DIG, MOVE, PICKUP, POWER, RECHARGE, SELF_DESTRUCT, TRANSFER, WATER
from tests.parity import HOMES, SCENE, Scene
from tests.streams import act

X, Y = 20, 35  # the middle of nowhere
LEFT_OF, RIGHT_OF, ABOVE, BELOW = (X - 1, Y), (X + 1, Y), (X, Y - 1), (X, Y + 1)
UP, RIGHT, DOWN, LEFT = 1, 2, 3, 4


# ------------------------------------------------------------------------------------------------------------ collisions


def test_swapping_places_is_no_collision():
    scene = Scene()
    a, b = scene.robot(0, "light", LEFT_OF), scene.robot(1, "heavy", (X, Y))
    scene.turn((a, [act(MOVE, RIGHT)]), (b, [act(MOVE, LEFT)]))
    assert scene.alive(a, b) == [True, True]


def test_one_heavy_entering_survives_everything_without_loss():
    scene = Scene()
    heavy = scene.robot(1, "heavy", LEFT_OF, 60)
    others = [scene.robot(1, "light", (X, Y), 150), scene.robot(0, "light", ABOVE, 150), scene.robot(0, "light", BELOW, 150)]
    scene.turn((heavy, [act(MOVE, RIGHT)]), (others[1], [act(MOVE, DOWN)]), (others[2], [act(MOVE, UP)]))
    assert scene.alive(heavy, *others) == [True, False, False, False]
    assert heavy.power == 40
    assert scene.game.rubble[X * SIZE + Y] == 3


def test_one_heavy_entering_beats_a_stronger_standing_heavy():
    scene = Scene()
    mover, standing = scene.robot(0, "heavy", LEFT_OF, 60), scene.robot(1, "heavy", (X, Y), 3000)
    scene.turn((mover, [act(MOVE, RIGHT)]))
    assert scene.alive(mover, standing) == [True, False]


@pytest.mark.parametrize(("first", "second", "standing"), [(500, 301, None), (301, 500, None), (200, 300, 900), (300, 200, 100)])
def test_of_heavies_the_strongest_survives_for_half_the_power_of_the_second(first, second, standing):
    scene = Scene()
    robots = [scene.robot(0, "heavy", LEFT_OF, first), scene.robot(1, "heavy", RIGHT_OF, second)]
    orders = [(robots[0], [act(MOVE, RIGHT)]), (robots[1], [act(MOVE, LEFT)])]
    powers = [first - 20, second - 20]
    if standing is not None:
        robots.append(scene.robot(0, "heavy", (X, Y), standing))
        powers.append(standing)
    scene.turn(*orders)
    best = int(np.argmax(powers))
    assert scene.alive(*robots) == [k == best for k in range(len(robots))]


@pytest.mark.parametrize("kind", ["light", "heavy"])
def test_a_tie_breaks_everybody(kind):
    scene = Scene()
    robots = [scene.robot(0, kind, LEFT_OF, 90), scene.robot(1, kind, RIGHT_OF, 90), scene.robot(1, "light", (X, Y), 20)]
    scene.paint_lichen(scene.factory(0), [(X, Y)], 50)
    scene.turn((robots[0], [act(MOVE, RIGHT)]), (robots[1], [act(MOVE, LEFT)]))
    assert scene.alive(*robots) == [False] * 3
    cell = X * SIZE + Y
    assert scene.game.rubble[cell] == (21 if kind == "heavy" else 3)
    assert scene.game.lichen[cell] == 0 and scene.game.strain[cell] == -1


@pytest.mark.parametrize("powers", list(itertools.permutations((81, 101, 51, 71))))
@pytest.mark.parametrize("kind", ["light", "heavy"])
def test_top_two_search_depends_on_the_order_of_movers(powers, kind):
    scene = Scene()
    starts = [LEFT_OF, RIGHT_OF, ABOVE, BELOW]
    towards = [RIGHT, LEFT, DOWN, UP]
    robots = [scene.robot(k % 2, kind, starts[k], powers[k]) for k in range(4)]
    scene.turn(*[(robots[k], [act(MOVE, towards[k])]) for k in range(4)])
    assert scene.alive(*robots) == [p == 101 for p in powers]


def test_a_new_maximum_forgets_the_second():
    scene = Scene()
    robots = [scene.robot(0, "light", LEFT_OF, 81), scene.robot(0, "light", RIGHT_OF, 101), scene.robot(0, "light", ABOVE, 51)]
    scene.turn((robots[0], [act(MOVE, RIGHT)]), (robots[1], [act(MOVE, LEFT)]), (robots[2], [act(MOVE, DOWN)]))
    assert robots[1].power == 100 - 25  # half of the third's 50, not of the second's 80


def test_a_lone_standing_heavy_survives_lights_for_free():
    scene = Scene()
    heavy = scene.robot(0, "heavy", (X, Y), 5)
    lights = [scene.robot(1, "light", LEFT_OF, 150), scene.robot(0, "light", RIGHT_OF, 100)]
    scene.turn((lights[0], [act(MOVE, RIGHT)]), (lights[1], [act(MOVE, LEFT)]), (heavy, [act(MOVE, 0)]))
    assert scene.alive(heavy, *lights) == [True, False, False]
    assert heavy.power == 5


def test_one_light_entering_beats_a_standing_light():
    scene = Scene()
    mover, standing = scene.robot(0, "light", LEFT_OF, 2), scene.robot(0, "light", (X, Y), 150)
    scene.turn((mover, [act(MOVE, RIGHT)]))
    assert scene.alive(mover, standing) == [True, False]
    assert mover.power == 1


@pytest.mark.parametrize(
    ("built", "standing", "old_lives", "new_lives"),
    [(0, "light", False, False), (1, "light", False, True), (0, "heavy", True, False), (1, "heavy", False, False)],
)
def test_building_onto_a_robot(built, standing, old_lives, new_lives):
    scene = Scene()
    factory = scene.factory(0)
    factory.power = 1000
    old = scene.robot(0, standing, HOMES[0][0])
    scene.turn((factory, built))
    assert scene.alive(old) == [old_lives]
    assert len(scene.env.state.units["player_0"]) == old_lives + new_lives
    x, y = HOMES[0][0]
    assert scene.game.rubble[x * SIZE + y] == 0  # nothing stays under a living factory


def test_two_standing_heavies_break_and_an_entering_light_is_left():
    scene = Scene()
    factory = scene.factory(0)
    x, y = HOMES[0][0]
    old, light = scene.robot(0, "heavy", (x, y), 3000), scene.robot(0, "light", (x - 1, y), 10)
    scene.turn((factory, 1), (light, [act(MOVE, RIGHT)]))
    assert scene.alive(old, light) == [False, True]
    assert len(scene.env.state.units["player_0"]) == 1


def test_a_robot_leaves_while_another_is_built():
    scene = Scene()
    old = scene.robot(0, "light", HOMES[0][0])
    scene.turn((scene.factory(0), 0), (old, [act(MOVE, UP)]))
    assert len(scene.env.state.units["player_0"]) == 2


# ------------------------------------------------------------------------------------------------- transfers and pickups


def test_a_dead_robot_still_transfers_to_its_neighbour():
    scene = Scene()
    giver = scene.robot(0, "light", (X, Y), 50, ice=30)
    taker, killer = scene.robot(0, "light", ABOVE), scene.robot(1, "heavy", LEFT_OF, 100)
    scene.turn((giver, [act(TRANSFER, UP, 0, 20)]), (killer, [act(MOVE, RIGHT)]))
    assert scene.alive(giver) == [False]
    assert taker.cargo.ice == 20


def test_a_dead_robots_centre_transfer_reaches_the_survivor():
    scene = Scene()
    giver, killer = scene.robot(0, "light", (X, Y), 50, ore=30), scene.robot(1, "heavy", LEFT_OF, 100)
    scene.turn((giver, [act(TRANSFER, 0, 1, 30)]), (killer, [act(MOVE, RIGHT)]))
    assert killer.cargo.ore == 30


def test_a_dead_robot_still_picks_up():
    scene = Scene()
    x, y = HOMES[0][0]
    factory = scene.factory(0)
    victim, killer = scene.robot(0, "light", (x, y), 50), scene.robot(0, "heavy", (x - 1, y), 100)
    scene.turn((victim, [act(PICKUP, 0, WATER, 40)]), (killer, [act(MOVE, RIGHT)]))
    assert scene.alive(victim) == [False]
    assert factory.cargo.water == 150 - 40 - 1


def test_what_exceeds_the_takers_room_vanishes():
    scene = Scene()
    giver, taker = scene.robot(0, "heavy", (X, Y), 3000, ice=500), scene.robot(1, "light", ABOVE, 140, ice=90)
    scene.turn((giver, [act(TRANSFER, UP, 0, 500), act(TRANSFER, UP, POWER, 1000)]))
    assert (giver.cargo.ice, taker.cargo.ice) == (0, 100)
    scene.turn()
    assert (giver.power, taker.power) == (2000, 150)


def test_what_is_sent_to_nobody_vanishes():
    scene = Scene()
    giver = scene.robot(0, "light", (X, Y), 50, metal=7)
    scene.turn((giver, [act(TRANSFER, UP, 3, 3001)]))
    assert giver.cargo.metal == 0 and not giver.action_queue


def test_all_subtractions_come_before_all_additions():
    scene = Scene()
    a, b = scene.robot(0, "light", (X, Y), 50, ice=10), scene.robot(0, "light", ABOVE, 50, ice=0)
    scene.turn((a, [act(TRANSFER, UP, 0, 10)]), (b, [act(TRANSFER, DOWN, 0, 10)]))
    assert (a.cargo.ice, b.cargo.ice) == (0, 10)


def test_a_transfer_finds_whom_it_finds_after_movement():
    scene = Scene()
    giver, goes = scene.robot(0, "light", (X, Y), 50, ice=10), scene.robot(0, "light", ABOVE)
    comes = scene.robot(1, "light", (X + 1, Y - 1))
    scene.turn((giver, [act(TRANSFER, UP, 0, 4)]), (goes, [act(MOVE, UP)]), (comes, [act(MOVE, LEFT)]))
    assert (goes.cargo.ice, comes.cargo.ice) == (0, 4)


def test_an_own_factory_comes_before_a_robot_on_it_and_an_enemy_factory_takes_nothing():
    scene = Scene()
    (x, y), (ex, ey) = HOMES[0][0], HOMES[1][0]
    giver, on_it = scene.robot(0, "light", (x - 2, y), 50, ore=10), scene.robot(0, "light", (x - 1, y))
    at_enemy, guard = scene.robot(0, "light", (ex - 2, ey), 50, ore=10), scene.robot(1, "light", (ex - 1, ey))
    scene.turn((giver, [act(TRANSFER, RIGHT, 1, 4)]), (at_enemy, [act(TRANSFER, RIGHT, 1, 4)]))
    assert scene.factory(0).cargo.ore == 4 and on_it.cargo.ore == 0
    assert scene.factory(1).cargo.ore == 0 and guard.cargo.ore == 4


def test_pickups_run_one_by_one_and_lose_the_excess():
    scene = Scene()
    x, y = HOMES[0][0]
    first, second = scene.robot(0, "light", (x, y), 100, metal=60), scene.robot(0, "light", (x + 1, y), 100)
    scene.turn((first, [act(PICKUP, 0, 3, 100)]), (second, [act(PICKUP, 0, 3, 100)]))
    assert (first.cargo.metal, second.cargo.metal, scene.factory(0).cargo.metal) == (100, 50, 0)


# ---------------------------------------------------------------------------------------------------------------- lichen


def test_water_cost_is_checked_against_the_last_turn_and_again():
    scene = Scene()
    factory = scene.factory(0)
    factory.cargo.water = 1
    scene.turn((factory, 2))  # nothing was counted yet, so it passes the first check, and 12 tiles cost 2
    assert factory.cargo.water == 0 and scene.game.lichen_any == 0
    board = scene.env.state.board
    ring = scene.ring(factory)
    for cell in ring[:10]:
        board.rubble[cell] = 1
    factory.cargo.water = 1
    scene.turn((factory, 2))  # 2 tiles would cost 1, but last turn it was 12
    assert factory.cargo.water == 0 and scene.game.lichen_any == 0
    factory.cargo.water = 1
    scene.turn((factory, 2))  # now it waters, thirsts, and dies
    assert scene.game.lichen_any == 1 and len(scene.env.state.factories["player_0"]) == 1


def test_a_foreign_ring_tile_is_watered_and_taken_over():
    scene = Scene()
    mine, theirs = scene.factory(0), scene.factory(1)
    cell = (12, 10)
    scene.paint_lichen(theirs, [cell], 30)
    scene.turn((mine, 2))
    assert scene.env.state.board.lichen_strains[cell] == mine.num_id
    assert scene.env.state.board.lichen[cell] == 31


def test_a_tile_between_two_strains_grows_for_neither():
    scene = Scene()
    mine, theirs = scene.factory(0, 0), scene.factory(1, 0)
    scene.paint_lichen(mine, [(x, 10) for x in range(12, 20)], 50)
    scene.paint_lichen(theirs, [(x, 10) for x in range(21, 29)], 50)
    scene.turn((mine, 2), (theirs, 2))
    assert scene.env.state.board.lichen[19:22, 10].tolist() == [51, 0, 51]


def test_watering_nets_one_and_spreads_from_twenty():
    scene = Scene()
    factory = scene.factory(0)
    factory.cargo.water = 1000
    ring = set(scene.ring(factory))
    for turn in range(20):
        assert int((scene.env.state.board.lichen > 0).sum()) == (len(ring) if turn else 0)
        scene.turn((factory, 2))
    assert int(scene.game.lichen_total[0]) == 20 * 12
    scene.turn((factory, 2))
    assert int((scene.env.state.board.lichen > 0).sum()) > len(ring)


def test_digging_the_last_lichen_leaves_rubble():
    scene = Scene()
    robot = scene.robot(0, "light", (X, Y), 100)
    scene.paint_lichen(scene.factory(1), [(X, Y)], 11)
    scene.turn((robot, [act(DIG, n=3)]))
    assert scene.env.state.board.lichen[X, Y] == 0  # 11 - 10 - 1
    scene.paint_lichen(scene.factory(1), [(X, Y)], 10)
    scene.turn()
    assert scene.game.rubble[X * SIZE + Y] == 2 and scene.game.strain[X * SIZE + Y] == -1


def test_dug_out_lichen_blocks_its_neighbours_for_the_turn():
    scene = Scene()
    mine, beyond = scene.factory(0), (13, 10)
    scene.paint_lichen(scene.factory(1), [beyond], 10)
    robot = scene.robot(0, "light", beyond)
    scene.turn((robot, [act(DIG)]))
    assert int(scene.game.factory_grow[mine.num_id]) == 11
    scene.turn()
    assert int(scene.game.factory_grow[mine.num_id]) == 12


def test_dig_order_is_rubble_lichen_ice_ore():
    scene = Scene()
    board = scene.env.state.board
    robot = scene.robot(0, "heavy", (X, Y), 3000)
    board.rubble[X, Y], board.ice[X, Y] = 30, 1
    board.ore[X, Y + 1] = 1
    scene.turn((robot, [act(DIG, n=3), act(MOVE, DOWN), act(DIG, n=2)]))
    scene.turn()
    assert board.rubble[X, Y] == 0 and robot.cargo.ice == 0
    for _ in range(4):
        scene.turn()
    assert (robot.cargo.ice, robot.cargo.ore) == (20, 40)
    robot.cargo.ore = 990
    scene.turn((robot, [act(DIG)]))
    assert robot.cargo.ore == 1000


def test_connected_lichen_gives_power():
    scene = Scene()
    factory = scene.factory(0)
    scene.paint_lichen(factory, scene.ring(factory), 1)
    before = factory.power
    scene.turn()
    assert factory.power == before + 50 + 12  # counted before the decay that empties them
    scene.turn()
    assert factory.power == before + 2 * 50 + 12


# ------------------------------------------------------------------------------------------------------------- factories


def test_a_factory_dies_of_thirst_and_leaves_rubble_robots_and_lichen():
    scene = Scene()
    factory = scene.factory(0)
    x, y = HOMES[0][0]
    robot = scene.robot(0, "light", (x, y))
    scene.paint_lichen(factory, [(x + 2, y)], 60)
    factory.cargo.water = 0
    scene.turn()
    assert len(scene.env.state.factories["player_0"]) == 1
    assert scene.alive(robot) == [True]
    assert scene.game.rubble.reshape(SIZE, SIZE)[x - 1 : x + 2, y - 1 : y + 2].tolist() == [[50] * 3] * 3
    assert scene.game.lichen_total[0] == 59 and scene.game.reward[0] == 59
    scene.turn((robot, [act(DIG)]))  # its ground is ground now
    assert scene.game.rubble[x * SIZE + y] == 48


@pytest.mark.parametrize(("ice", "lives"), [(3, False), (4, True)])
def test_four_ice_save_a_factory(ice, lives):
    scene = Scene()
    factory = scene.factory(0)
    factory.cargo.water, factory.cargo.ice = 0, ice
    scene.turn()
    assert bool(scene.game.factory_alive[factory.num_id]) == lives


def test_refining_takes_whole_blocks_up_to_its_rate():
    scene = Scene()
    factory = scene.factory(0)
    factory.cargo.ice, factory.cargo.ore = 107, 54
    scene.turn()
    cargo = factory.cargo
    assert (cargo.ice, cargo.ore, cargo.water, cargo.metal) == (7, 4, 150 + 25 - 1, 150 + 10)


def test_a_wreck_under_a_dying_factory_stays():
    scene = Scene()
    x, y = HOMES[0][0]
    factory = scene.factory(0)
    factory.cargo.water = 0
    robot = scene.robot(0, "heavy", (x + 1, y), 200)
    scene.turn((robot, [act(SELF_DESTRUCT)]))
    assert scene.game.rubble[(x + 1) * SIZE + y] == 60 and scene.game.rubble[x * SIZE + y] == 50


def test_losing_the_last_factory_loses_the_game():
    scene = Scene()
    scene.factory(0, 0).cargo.water = scene.factory(0, 1).cargo.water = 0
    scene.turn()
    assert scene.done and scene.game.reward.tolist() == [-1000, 0] and scene.game.failed.tolist() == [1, 0]


def test_both_sides_can_fail_in_one_turn():
    scene = Scene()
    for player in range(2):
        for slot in range(2):
            scene.factory(player, slot).cargo.water = 0
    scene.turn()
    assert scene.done and scene.game.reward.tolist() == [-1000, -1000]


# ------------------------------------------------------------------------------------------------------ queues and power


def test_a_recharge_waits_for_its_threshold():
    config = dataclasses.replace(SCENE, day_length=50)
    scene = Scene(config)
    robot = scene.robot(0, "light", (X, Y), 48)
    scene.turn((robot, [act(RECHARGE, amount=50), act(MOVE, UP)]))
    places = []
    for _ in range(4):
        places.append((robot.power, len(robot.action_queue)))
        scene.turn()
    # power is gained after the test, so that the turn in which 50 is seen is the one after it is reached
    assert places == [(49, 2), (50, 2), (51, 1), (51, 0)]


def test_a_spent_entry_with_repeat_goes_to_the_back():
    scene = Scene()
    robot = scene.robot(0, "light", (X, Y), 100)
    scene.turn((robot, [act(MOVE, UP, repeat=2, n=1), act(MOVE, DOWN, n=1)]))
    assert [a.state_dict().tolist() for a in robot.action_queue] == [act(MOVE, DOWN), act(MOVE, UP, repeat=2, n=2)]
    scene.turn()
    scene.turn()
    assert [a.state_dict().tolist() for a in robot.action_queue] == [act(MOVE, UP, repeat=2, n=1)]
    scene.turn()
    assert [a.state_dict().tolist() for a in robot.action_queue] == [act(MOVE, UP, repeat=2, n=2)]


def test_an_invalid_action_blocks_the_queue():
    scene = Scene()
    robot = scene.robot(0, "light", (0, Y), 100)
    scene.turn((robot, [act(MOVE, LEFT, n=2), act(MOVE, RIGHT)]))
    scene.turn()
    assert robot.pos.x == 0 and len(robot.action_queue) == 2 and robot.action_queue[0].n == 2


@pytest.mark.parametrize("kind", ["light", "heavy"])
def test_a_queue_update_without_power_is_skipped(kind):
    scene = Scene(GameConfig.for_map_size(48, min_factories=2, max_factories=2, day_length=0))
    price = {"light": 1, "heavy": 10}[kind]
    robot = scene.robot(0, kind, (X, Y), 2 * price)
    scene.turn((robot, [act(MOVE, 0, n=5)]))
    assert (robot.power, robot.action_queue[0].n) == (price, 4)
    robot.power = price - 1
    scene.turn((robot, [act(RECHARGE, amount=100)]))
    assert (robot.power, robot.action_queue[0].n) == (price - 1, 3)
    robot.power = price
    scene.turn((robot, np.zeros((0, 6), int)))
    assert (robot.power, len(robot.action_queue)) == (0, 0)


def test_a_move_costs_by_the_rubble_before_this_turns_digs():
    scene = Scene()
    scene.env.state.board.rubble[X, Y] = 40
    mover, digger = scene.robot(0, "light", LEFT_OF, 100), scene.robot(1, "light", (X, Y), 100)
    scene.turn((mover, [act(MOVE, RIGHT)]), (digger, [act(DIG)]))
    assert mover.power == 100 - (1 + 40 // 20)


def test_enemy_factories_are_walls_and_centre_moves_are_free():
    scene = Scene()
    x, y = HOMES[1][0]
    robot, resting = scene.robot(0, "light", (x - 2, y), 100), scene.robot(0, "heavy", (X, Y), 0)
    scene.turn((robot, [act(MOVE, RIGHT)]), (resting, [act(MOVE, 0, n=2)]))
    assert robot.pos.x == x - 2 and robot.power == 100
    assert resting.action_queue[0].n == 1


def test_power_by_day_and_night():
    scene = Scene(GameConfig.for_map_size(48, min_factories=2, max_factories=2))
    light, heavy = scene.robot(0, "light", (X, Y), 10), scene.robot(0, "heavy", ABOVE, 2995)
    factory = scene.factory(0)
    before = factory.power
    for _ in range(60):
        scene.turn()
    assert light.power == 10 + 30 + 10
    assert heavy.power == 3000
    assert factory.power == before + 60 * 50


def test_the_game_ends_after_its_last_turn():
    scene = Scene(dataclasses.replace(SCENE, max_episode_length=5))
    for _ in range(5):
        assert not scene.done and not scene.game.done
        scene.turn()
    assert scene.done and scene.game.done and scene.game.failed.tolist() == [0, 0]
