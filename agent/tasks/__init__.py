"""Robots at the level of tasks: dig ice, dig ore, clear ground, go home. A task is compiled into the robot's own action queue.

Everything here works on one game record and one side, as plain loops under `engine.jit`: compiled where many games are
played at once, interpreted on the judge's machine. `memory` is what a side keeps between turns, `ways` finds walks,
`trips` compiles tasks into queues, `choice` says which task, `factories` what is built and watered, `play` is a turn.
"""
