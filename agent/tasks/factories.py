"""What a factory does: build, water, or nothing."""

from __future__ import annotations

from agent.tasks.ground import LOOKS, room_to_grow
from agent.tasks.memory import ICE_TASK, NO_WISH
from engine.config import MAX_ROBOTS
from engine.jit import jit
from engine.state import BUILD_HEAVY, BUILD_LIGHT, METAL, NO_ACTION, WATER, WATER_LICHEN

SAFE_WATER = 50  # what watering leaves to a factory at least
DRINK = 10  # water that a factory keeps when it waters as it wishes
LATE = 20  # turns by which ice may come late
LAST_RUSH = 100  # turns before the end until which a factory hurries to build heavies ...
RUSH_HEAVIES = 12  # ... and how many it has at the most
ICE_TRIP = 30  # turns until a robot that is home brings ice


@jit
def crew_size(turn, f, heavy):
    """Robots of a kind that work for a factory."""
    return int(turn.crew[f, heavy].sum())


@jit
def kept_water(game, rules, memory, turn, player, f, now, left):
    """What watering leaves: the drink until more ice comes, or until the end if nobody brings any."""
    soonest = left
    for r in range(player * MAX_ROBOTS, player * MAX_ROBOTS + int(game.robot_slots[player])):
        if game.robot_alive[r] and game.robot_heavy[r] and memory.home[r] == f:
            comes = max(int(memory.back[r]) - now, 0) + (0 if memory.task[r] == ICE_TASK else ICE_TRIP)
            soonest = min(soonest, comes)
    return min(max(soonest + LATE, SAFE_WATER), left)


@jit
def wants_water(game, rules, dials, memory, turn, player, f, now, left):
    """Whether to water now: the factory can spare it, and few tiles are full or there is water in plenty."""
    tiles = int(game.factory_grow[f])
    water = int(game.factory_cargo[f, WATER])
    kept = kept_water(game, rules, memory, turn, player, f, now, left)
    cost = (tiles + 9) // 10
    if tiles == 0 or water - cost - 2 < kept:
        return False
    own = int(game.factory_connected[f])
    if own == 0 or left <= dials.late or game.factory_lichen[f] < (dials.early_low if now < dials.early else dials.low) * own:
        return True
    if (now + f) % LOOKS == 0:
        memory.room[f] = room_to_grow(game, rules, f)
    return memory.room[f] >= dials.room * own


@jit
def can_build(game, rules, turn, f, heavy):
    """Whether a factory could build a robot of a kind now."""
    if game.robot_at[game.factory_cell[f]] >= 0:
        return False
    return game.factory_cargo[f, METAL] >= rules.metal_cost[heavy] and turn.power[f] >= rules.power_cost[heavy]


@jit
def can_water(game, f):
    """Whether a factory could water and still drink."""
    return game.factory_grow[f] > 0 and int(game.factory_cargo[f, WATER]) - (int(game.factory_grow[f]) + 9) // 10 >= DRINK


@jit
def building(game, rules, dials, turn, f, left):
    """What the rule builds now: BUILD_LIGHT, BUILD_HEAVY, or NO_ACTION."""
    metal = int(game.factory_cargo[f, METAL])
    power = int(turn.power[f])
    if left > dials.last_build and game.robot_at[game.factory_cell[f]] < 0:
        heavies = crew_size(turn, f, 1)
        lights = crew_size(turn, f, 0)
        income = 50 + int(game.factory_connected[f])
        hurries = LAST_RUSH < left <= dials.rush and heavies < RUSH_HEAVIES
        paid = (
            heavies == 0
            or hurries
            or (heavies < dials.heavies and lights >= dials.first_lights and (income >= dials.heavy_power * heavies or power >= dials.rich))
        )
        if paid and metal >= rules.metal_cost[1] and power >= rules.power_cost[1]:
            return BUILD_HEAVY
        wanted = dials.lights if heavies > 1 else dials.first_lights
        if heavies > 0 and lights < wanted and metal >= rules.metal_cost[0] and power >= rules.power_cost[0]:
            return BUILD_LIGHT
    return NO_ACTION


@jit
def factory_order(game, rules, dials, memory, turn, player, f, now, left):
    """BUILD_LIGHT, BUILD_HEAVY, WATER_LICHEN or NO_ACTION: what the factory planned and wishes, or else what the rule says."""
    order = int(memory.plan[f])
    if order == NO_WISH:
        order = building(game, rules, dials, turn, f, left)
    elif order != NO_ACTION and not can_build(game, rules, turn, f, 1 if order == BUILD_HEAVY else 0):
        order = NO_ACTION
    if order != NO_ACTION:
        memory.replan[f] = now + 1
        return order
    if memory.watering[f] != NO_WISH:
        return WATER_LICHEN if memory.watering[f] == WATER_LICHEN and can_water(game, f) else NO_ACTION
    if wants_water(game, rules, dials, memory, turn, player, f, now, left):
        return WATER_LICHEN
    return NO_ACTION
