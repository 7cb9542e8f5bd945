"""A fixed piece of work between the agents' steps: what the time of a step is held against.

Machines differ, and one machine differs from minute to minute; the time of a step over that of
this loop in the same worker can be compared where seconds cannot. It is work of the kind that a
PyMDP agent does: many small NumPy calls between lines of Python. It fits in a processor's first
caches and keeps no memory. Its time is processor time: other processes that want the processor are
no part of it.
"""

from __future__ import annotations

from array import array
from time import thread_time

import numpy as np

_STATES = 48
_ROUNDS = 200
_MOST = 40


class Reference:
    """Times the loop, at most a given number of times over all the steps of a worker."""

    def __init__(self, steps: int) -> None:
        self._every = max(1, -(-steps // _MOST))
        self._seconds = array("d", [0.0]) * min(_MOST, steps)
        self._asked = 0
        self._likelihood = np.linspace(0.1, 1.0, _STATES * _STATES).reshape(_STATES, _STATES)
        self._belief = np.full(_STATES, 1 / _STATES)
        self._log = np.empty(_STATES)
        self._product = np.empty(_STATES)
        self._work()

    def take(self) -> None:
        """Run the loop once, if it is its turn."""
        place, rest = divmod(self._asked, self._every)
        self._asked += 1
        if rest == 0 and place < len(self._seconds):
            start = thread_time()
            self._work()
            self._seconds[place] = thread_time() - start

    @property
    def seconds(self) -> tuple[float, ...]:
        """One entry for each time that the loop ran."""
        return tuple(filter(None, self._seconds))

    def _work(self) -> None:
        belief, product = self._belief, self._product
        belief.fill(1 / _STATES)
        for _ in range(_ROUNDS):
            np.dot(self._likelihood, belief, out=product)
            np.log(product, out=self._log)
            np.exp(self._log, out=belief)
            belief /= belief.sum()
