"""The numbers of the rule."""

from __future__ import annotations

from typing import Dict, NamedTuple


class Dials(NamedTuple):
    """A factory's and its robots' thresholds, in the game's own units."""

    early: int = 400
    """Turns of the beginning, in which a factory spreads its lichen as fast as it can, for the power of the tiles."""
    early_trip: int = 1000
    """Power with which a heavy leaves home at the least in these turns, while there is water ..."""
    trip_power: int = 2900
    """... and later."""
    early_low: int = 70
    """Lichen on a tile, in the mean, below which a factory waters in these turns ..."""
    low: int = 5
    """... and later."""
    room: float = 0.23
    """It also waters if so much ground, as a share of its tiles, could be grown soon ..."""
    late: int = 150
    """... and when so many turns are left."""
    claim: int = 20
    """Steps from the walls up to which a heavy goes for ice and ore where enemies stand or could come that it would destroy."""
    strikes: int = 3
    """Steps onto enemies of the own kind that stand still, until so many have missed."""
    ice_a_heavy: float = 8.0
    """Water a turn that a heavy which digs ice is taken to bring."""
    supply: float = 0.5
    """Share of the water that could be used, from which on a heavy may leave ice to others."""
    ore_water: int = 107
    """Water from which the only heavy of a factory may fetch ore."""
    ore_diggers: int = 1
    """Heavies of a factory that dig ore at one time."""
    metal_enough: int = 148
    """Metal from which none is dug."""
    last_ore: int = 342
    """Turns before the end from which no ore is dug."""
    last_build: int = 40
    """Turns before the end from which nothing is built."""
    heavies: int = 5
    """A factory builds no more."""
    lights: int = 8
    """The same of lights, once it has two heavies ..."""
    first_lights: int = 2
    """... and before."""
    heavy_power: int = 120
    """Power a turn that a factory needs for each heavy."""
    light_keep: int = 0
    """Power that lights leave to the heavies of their factory."""
    rich: int = 2503
    """Power from which a factory builds whatever it has metal for."""
    reach: int = 13
    """Steps from the walls up to which ground is cleared."""
    reap: int = 300
    """Turns before the end from which robots dig up the enemy's lichen ..."""
    reap_power: float = 0.7
    """... with so much of their battery."""
    heavy_reap: int = 100
    """Turns before the end from which heavies do so as soon as their factory has enough to drink."""
    bold: int = 50
    """Turns before the end from which they dig it up also where enemies could come; lights always do."""
    rush: int = 200
    """Turns before the end from which it builds heavies of whatever metal and power it has."""
    carry: int = 400
    """Water from which a heavy carries it to another factory."""


def changed(dials: Dials, values: Dict[str, float]) -> Dials:
    """Dials with other values, made whole numbers where these are. Raises `ValueError` for a name that is none."""
    odd = sorted(set(values) - set(dials._fields))
    if odd:
        raise ValueError("There is no dial {}; there are {}.".format(odd[0], ", ".join(dials._fields)))
    return dials._replace(**{name: type(getattr(dials, name))(value) for name, value in values.items()})
