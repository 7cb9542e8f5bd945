"""Imported once by the process that commands and workers of tests are forked from."""

import gc
import importlib

import sitecustomize
import typer.main

_COMMANDS = (
    *("cli.commands", "cli.output", "export.sinks", "scenario", "render.document"),
    *("density.run", "gate.run", "leak.run", "profile.run", "run.process", "run.run"),
)
_WORKERS = (
    *("worker.__main__", "profile.worker", "leak.worker", "density.worker"),
    *("populations.numpy_agents", "storage.working_set"),
)
# malloc maps blocks larger than any mapped one that was freed, as a worker's warm-up does with an
# agent. In a fork that agent may find room among what its parents freed.
_LARGEST_OF_HEAP = 31 * 2**20

sitecustomize.install()
for name in (*_COMMANDS, *_WORKERS):
    importlib.import_module(f"memprof.{name}")
for name in ("memprof_fake", "scipy.special"):
    importlib.import_module(name)
commands = importlib.import_module("memprof.cli.commands")
dict(typer.main.get_command(commands.app).commands)  # each is imported as it is asked for
document = importlib.import_module("memprof.render.document")
document._template(), document._scripts()
bytearray(_LARGEST_OF_HEAP)
gc.collect()
gc.freeze()  # no collection in a fork looks at what is there by now
