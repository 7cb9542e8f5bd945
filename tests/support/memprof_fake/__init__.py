"""What memprof is tested with: agents of exactly known size, passes for each thing that can come of
a pass, and an instrument whose figure is known. memprof finds them by their entry points."""

from __future__ import annotations

from memprof.catalogue.backends import Backend
from memprof.catalogue.instruments import InstrumentInfo
from memprof.catalogue.passes import PassForm, PassInfo

BACKEND = Backend(
    name="fake",
    population="memprof_fake.agents:FakePopulation",
    generative=False,
    imports=("memprof_fake.agents",),
)
INSTRUMENT = InstrumentInfo(
    name="fake",
    summary="reads a thousand bytes per agent, whatever is there (for tests)",
    sees="nothing",
    blind_to="everything",
    target="memprof_fake.agents:FakeInstrument",
)


def _pass(
    name: str,
    what: str,
    summary: str,
    cost: str = "nothing",
    bound: float | None = None,
    requires: tuple[str, ...] = (),
) -> PassInfo:
    form = PassForm(summary, cost, what if ":" in what else f"memprof_fake.agents:{what}", bound)
    return PassInfo(name, {"fake": form}, requires=requires)


HALF = _pass("fake-half", "FakeHalf", "cuts the calibration agents' buffers in half")
SLOW = _pass(
    "fake-slow",
    "FakeSlow",
    "cuts the buffers to a quarter, and sleeps before every step",
    "10 ms per step",
)
SHARE = _pass("fake-share", "FakeShare", "the calibration agents' buffers become one")
IDLE = _pass(
    "fake-idle",
    "memprof.optimise:Pass",
    "does nothing, on top of fake-share",
    requires=("fake-share",),
)
BREAK = _pass("fake-break", "FakeBreak", "changes one action of the second agent: it gets caught")
CRASH = _pass("fake-crash", "FakeCrash", "fails when the second agent is built", "the worker")
BLUR = _pass(
    "fake-blur", "FakeBlur", "halves the buffers, beliefs are a thousandth off", bound=0.002
)
