"""Entry point of a packaged agent. The judge executes this text and takes the last callable; run as a script, it speaks
the stand-alone protocol on stdin and stdout. Everything is imported here, since the judge forgets the folder afterwards.
"""

import agent.scripted.protocol as protocol
import submission.entry as entry  # the packager writes the package's own name before these two

entry.prepare()
players = {}  # of this copy of the agent: both sides of a match may run in one process


def agent_fn(observation, configuration):
    """The action of one turn, as the judge calls for it."""
    return entry.answer(players, observation, configuration)


if __name__ == "__main__":
    protocol.serve(lambda message: agent_fn(message, {}), entry.lost_turn)
