"""The job `forecast`: what populations would take that are not built."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from memprof.errors import NoAccount
from memprof.instruments import Stopwatch, heap, process, walker
from memprof.instruments.device import device_memory_bytes
from memprof.populations import Population
from memprof.values.instruments import Account
from memprof.values.prediction import MOST_AGENTS, Forecasted, ForecastRun
from memprof.values.requests import Forecast
from memprof.worker.growth import Growth
from memprof.worker.job import Channel, backend_of, warm_up

_FEW = 4
"""Agents that are built: with fewer, XLA would compile another kind of program."""
_MORE, _MORE_BYTES = 64, 256 * 10**6
_CLOSE = 0.01
_MOST_COMPILED = 12


def forecast(request: Forecast, channel: Channel) -> ForecastRun:
    """Build a few agents and let them live the scenario's steps; what the process takes beyond the
    account of these it will take with more. Then compile programs for more agents, in shapes."""
    spec = request.spec
    process.expect_process()
    warm_up(spec, channel)
    population = backend_of(spec)(spec, Stopwatch())
    process.settle()
    filled = heap.fill_free_blocks()
    process.reset_peak()
    baseline = process.read()
    few = min(_FEW, spec.agents)
    channel.progress("build", few)
    growth = Growth(population, spec.steps)
    growth.come(few)
    peak = process.peak_rss_bytes() or process.read().rss_bytes
    limit = request.device_bytes or device_memory_bytes()
    own, refused = 0, ""
    sizes: list[Forecasted] = []
    fitting: list[Forecasted] = []
    try:
        own = max(0, peak - baseline.rss_bytes - population.account(few).peak_bytes)
        _more(growth, spec.agents, channel)
        known = _Known(population, 0 if limit else own, bool(limit), channel)
        sizes = [known.of(agents, None) for agents in request.sizes]
        if (room := request.room_bytes) is not None:
            room = limit or room - baseline.rss_bytes
            found = [known.largest(room, chunk, spec.agents) for chunk in request.chunks]
            fitting = [each for each in found if each is not None]
    except NoAccount as error:
        refused = str(error)
    del filled
    return ForecastRun(
        baseline=baseline,
        few=few,
        own_bytes=own,
        device_limit_bytes=limit,
        sizes=tuple(sizes),
        fitting=tuple(fitting),
        refused=refused,
        facts=population.facts(),
        calibration=process.calibration(),
    )


def _more(growth: Growth, most: int, channel: Channel) -> None:
    """Build more agents in place of these where they rest compressed: among few, one takes next to
    nothing."""
    more = min(_MORE, most)
    if more > len(growth.population):
        account = growth.population.account(more)
        if account.copied_bytes and account.peak_bytes < _MORE_BYTES:
            channel.progress("build", more)
            growth.come(more)


def _beside_each(population: Population) -> float:
    """What one agent has alone beside the account: objects of its own, such as its environment, as
    far as they are in memory; the mean of those that may be of several sizes."""
    own = [each for each in population.holdings() if each[0] >= 0]
    walked = walker.walk(own, len(population))
    alone = walked.resident or walked.nominal
    return statistics.fmean(alone[1:] or alone or (0,))


class _Known:
    """Populations of which the account is known, and the search for the largest.

    Args:
        own_bytes: what the process takes beyond the account.
        device: what is on the device counts, and not what the process takes.
    """

    def __init__(
        self, population: Population, own_bytes: int, device: bool, channel: Channel
    ) -> None:
        self._account: Callable[[int, int | None], Account] = population.account
        self._own, self._device, self._channel = own_bytes, device, channel
        self._beside = 0.0 if device else _beside_each(population)

    def of(self, agents: int, chunk: int | None) -> Forecasted:
        """The program for so many is compiled."""
        self._channel.progress("compile", agents)
        account, beside = self._account(agents, chunk), round(agents * self._beside)
        peak = account.device_bytes if self._device else account.peak_bytes + beside
        return Forecasted(chunk, account, beside, self._own + peak)

    def largest(self, room: int, chunk: int | None, first: int) -> Forecasted | None:
        """The largest that takes no more than `room`, give or take a hundredth; None if there is
        none."""
        fits: Forecasted | None = None
        low, high, agents = 0, MOST_AGENTS + 1, first
        for _ in range(_MOST_COMPILED):
            found = self.of(agents, chunk)
            if found.peak_bytes <= room:
                fits, low = found, agents
            else:
                high = agents
            if high - low <= max(1, _CLOSE * low):
                break
            agents = self._next(found, room, low, high)
        return fits

    def _next(self, found: Forecasted, room: int, low: int, high: int) -> int:
        """As many as there is room for if all take their part alike, between the two that are
        known; half of a hundredth less, so that a line ends within two more."""
        share = (room - self._own) / max(1, found.peak_bytes - self._own)
        guess = int(found.account.agents * share * (1 - _CLOSE / 2))
        least, most = low + 1 + int(_CLOSE / 4 * low), high - 1
        if not least <= guess <= most:
            guess = (low + high) // 2 if high <= MOST_AGENTS else min(most, 2 * max(1, low))
        return max(low + 1, min(most, guess))
