"""The observer of one process: who lives in it, what PyMDP does in it, and what it takes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType, ModuleType
from typing import Any

from msgspec.structs import replace

from memprof.text import one_line
from memprof.upstream.installed import package_of
from memprof.values.live import Live
from memprof.values.measurements import Children
from memprof.values.watch import Kind, Look, Watched
from memprof.watching import unseen
from memprof.watching.imports import Imports
from memprof.watching.operations import ACT, Operations
from memprof.watching.parts import Parts
from memprof.watching.peaks import Peaks
from memprof.watching.programs import Programs
from memprof.watching.readings import Timeline, has_children, peak_bytes, private_bytes
from memprof.watching.registry import MANY_MORE, BackendName, Crowd, Registry, users_line
from memprof.watching.rollouts import Rollouts
from memprof.watching.rounds import Recent, Rounds
from memprof.watching.seen import MOST_ALONE, Seen
from memprof.watching.sites import KeptLines

_INTERVAL_SECONDS = 0.1
_CHILDREN_EVERY = 5
SHARE = 0.003
"""Of the time since the program began, no more is spent looking while it runs."""
_LEAST_SECONDS = 0.01
# Who asks more often gets the same answer.
_FRESH_SECONDS = 1.0
# A look takes about so long for each agent, until there was one.
_EACH_SECONDS = 2e-4

# A look makes one step count for nothing; so many that do come between two looks at what is now.
_STEPS_BETWEEN = 4

PEAK, END, NOW = "peak", "end", "now"


class Observer:
    """Watches from `start` to `stop`. What it knows is `watched()`; `on_look` is told after every
    look, in whichever thread that was; in a fork, `earlier` is the one of its parent."""

    def __init__(
        self,
        folder: str | None = None,
        on_look: Callable[[Observer], None] | None = None,
        sites: KeptLines | None = None,
        earlier: Observer | None = None,
    ) -> None:
        self._folder = folder or os.getcwd()
        self._on_look = on_look or (lambda _: None)
        self._sites = sites
        self._registry: Registry = Registry(
            private_bytes,
            self._before_death,
            lambda: self._on_look(self),
            self._built_in_fork,
            earlier._registry if earlier else None,
        )
        self._is_fork = earlier is not None
        self.follows: Callable[[int], bool] = lambda _: False
        self.in_a_fork: Callable[[], Observer] | None = None
        """Who watches a fork of this process; None where nobody does."""
        self._successor: Observer | None = None
        self._rounds = Rounds(private_bytes, None if sites is None else sites.step)
        self._peaks = Peaks(self._rounds.interrupt)
        self._operations = Operations(private_bytes, self._acted, self._peaks, self._registry)
        self._programs = Programs(users_line, self._operations.steps)
        agents = dict.fromkeys(_modules(), self._found)
        self._rollouts = Rollouts(users_line, self._rolled)
        rollouts = {f"{package_of('jax')}.envs.rollout": self._rollouts.watch}
        self._imports = Imports({**agents, **rollouts, "jax": self._programs.watch})
        self._looks: dict[str, Look] = {}
        self._kinds = Seen()
        self._timeline = Timeline()
        self._recent = Recent(self._rounds)
        self.parts = Parts()
        self._live: Live | None = None
        self._looking, self._amid_look = threading.RLock(), False
        self._resting = threading.Event()
        self._at_work: threading.Lock | None = None
        self._stopped = False
        self._children = Children()
        self._failed = ""
        self._classes: tuple[type, ...] = ()
        self._took, self._each_seconds = 0.0, _EACH_SECONDS
        # At the last look for the peak, and at the last one by the thread that uses the agents.
        self._seen = self._seen_turn = self._used = 0
        # At the last look at what is now: agents and turn of the registry, and steps.
        self._seen_now = 0, 0, 0

    def start(self) -> None:
        """From now on; `memprof top` finds it."""
        from memprof.watching.door import Door

        _current.append(self)
        self.start_seconds, self._began = time.monotonic(), time.time()
        self._start_bytes = private_bytes()
        self._imports.start()
        if not self._is_fork:  # whose agents are its parent's
            self._registry.search()
        self.go_on()
        self.parts.add(Door(self.live))
        self._on_look(self)

    def stop(self) -> None:
        """No longer; PyMDP is as it was."""
        self._stopped = True
        self.rest()
        self.let_go()

    def end(self) -> None:
        """The last look, and no more; once."""
        if not self._stopped:
            self.try_to_look(END)
            self.stop()
            self._on_look(self)

    def go_on(self) -> None:
        """Read the process now and then, in a thread that the program does not see."""
        if self._stopped:
            return
        self._resting.clear()
        self._at_work = unseen.start(self._sample)
        self.parts.go_on()

    def rest(self) -> None:
        """Python warns of a fork with threads; the program's forks have none of ours."""
        self._resting.set()
        unseen.wait_for(self._at_work)
        self._at_work = None
        self.parts.rest()

    def forked(self) -> None:
        """This process is a fork, whose agents are its own. Most forks have none: nothing is done
        before one is built or acts."""
        self.start_seconds, self._stopped = time.monotonic(), True
        if self.in_a_fork is None:
            self.let_go()
            return
        self._registry.unsettle()
        self.parts.let_go()
        if self._sites is not None:
            self._sites.stop()

    def awake(self) -> Observer:
        """The one who watches this process: another one in a fork."""
        if self._successor is None and self._stopped and self.in_a_fork is not None:
            self.let_go()
            self._successor = self.in_a_fork()
        return self._successor or self

    def _built_in_fork(self, agent: Any, frame: FrameType) -> None:
        if (now := self.awake()) is not self:
            now._registry.add(agent, frame)

    def let_go(self) -> None:
        """Leave PyMDP alone."""
        self._stopped = True
        if self in _current:
            _current.remove(self)
        self.parts.let_go()
        self._imports.stop()
        self._registry.stop()
        self._operations.stop()
        self._peaks.stop()
        self._programs.stop()
        self._rollouts.stop()
        if self._sites is not None:
            self._sites.stop()

    @property
    def stopped(self) -> bool:
        """Whether it no longer watches, as in a fork of its process."""
        return self._stopped

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.start_seconds

    @property
    def has_looked(self) -> bool:
        """Whether any kind was built, or seen."""
        return bool(self._kinds) or bool(self._registry.built)

    @property
    def inherited(self) -> int:
        """Agents of the process of which this one is a fork, that worked here, too."""
        return len(self._registry.inherited)

    def look(self, name: str) -> Look | None:
        """Walk over all agents that live; None where none does, or amid another look."""
        with self._turn(wait=True) as mine:
            found = self._look(name, in_use=True) if mine else None
        self._on_look(self)
        return found

    @contextmanager
    def _turn(self, *, wait: bool) -> Iterator[bool]:
        """Whether this thread may look: not while another one does, for which it may `wait`, nor
        amid a look of its own, as what a signal calls would."""
        if not self._looking.acquire(blocking=wait):
            yield False
            return
        mine, self._amid_look = not self._amid_look, True
        try:
            yield mine
        finally:
            self._amid_look = not mine
            self._looking.release()

    def try_to_look(self, name: str) -> Look | None:
        """The same for who must not be disturbed: a look that fails is none, and `watched` says
        so."""
        try:
            return self.look(name)
        except Exception as error:  # whatever the objects of a program may do when they are read
            self._fail(error)
            return None

    def _fail(self, error: Exception) -> None:
        self._failed = f"{type(error).__name__}: {one_line(str(error))}"

    def _look(self, name: str, *, in_use: bool, crowd: Crowd | None = None) -> Look | None:
        """At all that live, or at one crowd. `in_use`: by the thread that uses the agents, which
        are not at work meanwhile."""
        from memprof.watching import looks

        self._peaks.spoil()
        if in_use and name != PEAK:
            self._registry.search()
        kinds = looks.living(self._registry.crowds if crowd is None else [crowd])
        if not kinds:
            return None
        for kind in kinds:
            kind.crowd.seen = True
        with self._rounds.without():
            for kind in kinds if in_use else ():
                kind.try_saving()
            now, folder, returned = self.seconds, self._folder, self._rollouts.alive()
            found = looks.look(name, kinds, now, private_bytes(), folder, returned)
        self._peaks.spoil()
        if crowd is None:
            self._looks[name] = found
        self._kinds.take(found.kinds)
        self._took += found.look_seconds
        self._each_seconds = found.look_seconds / sum(len(kind.agents) for kind in kinds)
        return found

    def watched(self) -> Watched:
        """All that is known until now."""
        return Watched(
            facts={},
            children=self._children,
            seconds=self.seconds,
            looks=tuple(sorted(self._looks_until_now(), key=lambda each: each.name != PEAK)),
            timeline=self._timeline.moments(),
            operations=self._operations.used(),
            growth=self._rounds.growth(),
            compiling=self._programs.compiling(self._folder),
            rollouts=tuple(self._rollouts.rows(self._folder)),
            sites=None if self._sites is None else self._sites.found(self._folder),
            start_bytes=self._start_bytes,
            peak_bytes=peak_bytes(),
            watch_seconds=self._took,
            finished=self._stopped,
            built=self._registry.built,
            failed=self._failed,
            kinds=self._until_now(self._kinds.kinds()),
            unseen=tuple(name for name, crowd in self._named() if crowd.built and not crowd.seen),
        )

    def _looks_until_now(self) -> Iterator[Look]:
        """With the constructions that came after them."""
        for look in [*self._looks.values()]:
            yield replace(look, kinds=self._until_now(look.kinds))

    def _until_now(self, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        built = {name: crowd.built for name, crowd in self._named()}
        return tuple(replace(kind, built=built.get(kind.name, kind.built)) for kind in kinds)

    def _named(self) -> Iterator[tuple[str, Crowd]]:
        from memprof.watching.looks import name_of

        for crowd in self._registry.crowds:
            yield name_of(crowd, self._folder), crowd

    def _found(self, module: ModuleType) -> None:
        """A module of agents was imported."""
        from memprof.upstream.installed import folder
        from memprof.watching import looks

        kind = getattr(module, "Agent", None)
        if kind is None or not str(module.__file__).startswith(str(folder())):
            return  # a module of the program's own, of that name
        looks.load()
        backend = _modules()[module.__name__]
        self._registry.watch(kind, backend)
        self._operations.watch(kind, backend)
        self._classes = (*self._classes, kind)

    def _acted(self, operation: str, agent: Any, found: Any) -> None:
        if self._stopped and (now := self.awake()) is not self:
            now._acted(operation, agent, found)
            return
        registry = self._registry
        crowd = registry.crowd_of(agent)
        if crowd is None and isinstance(agent, self._classes):
            registry.meet(agent)
            crowd = registry.crowd_of(agent)
        if found is not agent and isinstance(found, self._classes):
            registry.meet(found, like=agent)
        alive = registry.alive
        if operation == ACT and alive:
            self._rounds.act(id(agent), alive, registry.agents)
        if alive == 1 and not self._used:
            self._look_for_peak(last_chance=True)
        elif crowd is not None and not crowd.seen and len(crowd.alive) == 1:
            self._look_at(crowd)  # nobody else sees it go
        if crowd is not None:
            crowd.settled = crowd.seen and (alive > 1 or self._used > 0)

    def _rolled(self, agent: Any, found: Any) -> None:
        """A rollout of an agent has returned it anew."""
        if isinstance(found, self._classes):
            self._registry.meet(found, like=agent)

    def _before_death(self, crowd: Crowd) -> None:
        """An agent goes, with others perhaps."""
        self._look_for_peak(last_chance=True)
        if not crowd.seen:
            self._look_at(crowd)

    def _sample(self) -> None:
        built = count = 0
        while not self._resting.wait(_INTERVAL_SECONDS):
            count += 1
            if count % _CHILDREN_EVERY == 0 and has_children():
                self._see_children()
            alive = self._registry.alive
            self._timeline.take(self.seconds, private_bytes(), alive)
            self._recent.take(self.seconds)
            if alive == built:  # none came lately
                self._look_for_peak()
            built = alive

    def _see_children(self) -> None:
        """Keep those that hold most, of all moments."""
        from memprof.instruments.children import children

        now = children(self._followed())
        if now.started.rss_bytes > self._children.started.rss_bytes:
            self._children = now

    def _followed(self) -> set[int]:
        """Processes that have an observer of their own."""
        from memprof.instruments.children import running

        return {pid for pid in running() if self.follows(pid)}

    def _look_for_peak(self, *, last_chance: bool = False) -> None:
        """Look, if there are as many agents as the last time or more, something has happened since,
        and it takes no more than a share of the time until now. The last chance to see many more
        than before is always taken."""
        alive, turn = self._registry.alive, self._registry.turn
        if alive < max(1, self._seen) or self._stopped:
            return
        news = last_chance and alive > MANY_MORE * self._used
        if not news and (turn == self._seen_turn or not self._has_time_for(alive)):
            return
        with self._turn(wait=False) as mine:
            if mine:
                self._seen, self._seen_turn = alive, turn
                self._used = alive if last_chance else self._used
                self._look_quietly(PEAK, in_use=last_chance)

    def _look_at(self, crowd: Crowd) -> None:
        """Before the only agents of a kind go, perhaps."""
        if self._stopped:
            return
        if not self._seen:
            self._look_for_peak(last_chance=True)
        elif len(self._kinds) < MOST_ALONE:
            with self._turn(wait=False) as mine:
                if mine:
                    self._look_quietly(PEAK, in_use=True, crowd=crowd)

    def _look_quietly(self, name: str, *, in_use: bool, crowd: Crowd | None = None) -> None:
        try:
            self._look(name, in_use=in_use, crowd=crowd)
        except Exception as error:
            self._fail(error)
        self._on_look(self)

    def _has_time_for(self, alive: int) -> bool:
        allowed = _LEAST_SECONDS + SHARE * self.seconds
        return self._took + self._each_seconds * alive <= allowed

    def look_now(self) -> None:
        """Look at what lives now, if something has happened since the last time, and as long as
        looks take no more than their share of the time."""
        alive, turn, steps = self._registry.alive, self._registry.turn, self._rounds.latest.steps
        seen, seen_turn, seen_steps = self._seen_now
        step = seen_steps < steps < seen_steps + _STEPS_BETWEEN
        if turn == seen_turn or (alive == seen and step) or not self._has_time_for(alive):
            return
        with self._turn(wait=False) as mine:
            if mine:
                self._seen_now = alive, turn, steps
                self._look_quietly(NOW, in_use=False)

    def live(self, age: float = _FRESH_SECONDS) -> Live:
        """What is known at this moment; or was, no more than so many seconds ago."""
        from memprof.watching.live import live_of

        last = self._live
        if last is None or self.seconds - last.seconds >= age:
            self._peaks.spoil()
            found = live_of(
                self._registry.crowds,
                [*self._looks.values()],
                self._folder,
                began=self._began,
                seconds=self.seconds,
                operations=self._operations.used(),
                growth=self._recent.growth(),
                compiling=self._programs.compiling(self._folder),
                watch_seconds=self._took,
            )
            if self._live is last:  # else another thread knows more
                self._live = found
            return found
        return last


_current: list[Observer] = []


def _all(do: Callable[[Observer], None]) -> None:
    for each in [*_current]:
        do(each)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=partial(_all, Observer.rest),
        after_in_parent=partial(_all, Observer.go_on),
        after_in_child=partial(_all, Observer.forked),
    )


def current() -> Observer | None:
    """The one that watches this process; None where none does."""
    return _current[-1].awake() if _current else None


def _modules() -> dict[str, BackendName]:
    """Where PyMDP's agents are: the module of each backend that is installed."""
    backends: tuple[BackendName, ...] = ("numpy", "jax")
    return {f"{package_of(name)}.agent": name for name in backends if package_of(name)}
