"""A population whose agents hold a table in every way, each under a name of its own."""

import functools
import gc
import weakref

import numpy as np
from pymdp.legacy.agent import Agent
from ways import NUMBERS, OF_A_TABLE, WITH_A_COPY

REGISTRY = []
NOTES = weakref.WeakKeyDictionary()


def remembers(key, cache={}):  # noqa: B006
    return cache.setdefault(key, np.random.rand(NUMBERS))


class Holder(Agent):
    tables = {}  # noqa: RUF012

    def __init__(self, **arguments):
        super().__init__(**arguments)
        for name, way in {**OF_A_TABLE, **WITH_A_COPY}.items():
            setattr(self, name.replace(" ", "_"), way(np.random.rand(NUMBERS)))
        gc.collect()
        REGISTRY.append(np.random.rand(NUMBERS))
        NOTES[self] = np.random.rand(NUMBERS)
        self.tables[len(self.tables)] = np.random.rand(NUMBERS)
        self.remembered()
        remembers(len(REGISTRY))

    @functools.cache  # noqa: B019
    def remembered(self):
        return np.random.rand(NUMBERS)


def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found


def model():
    here = np.eye(4)
    moves = np.stack([here, np.roll(here, 1, axis=0)], axis=2)
    return {"A": objects(here), "B": objects(moves), "D": objects(np.full(4, 0.25))}


def make():
    return Holder(**model())
