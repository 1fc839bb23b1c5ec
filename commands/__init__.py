"""The verbs of the command line, a file each: its docstring is the help, `run(argv)` does it. A new verb is a file and a row here."""

VERBS = ("demo", "train", "tasks", "report", "imitate", "evaluate", "package", "submit", "play", "replay", "rate", "bench", "reproduce")
