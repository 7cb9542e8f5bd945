"""Agents that come and go while others live on."""

from types import SimpleNamespace

import pytest

from memprof.density.living import Living


class Crowd:
    """A population of nobody, which keeps count of who is there."""

    rebuilds, stride = False, 1

    def __init__(self):
        self.first = self.last = 0

    def __len__(self):
        return self.last - self.first

    def grow(self, agents):
        begin, self.last = self.last, self.first + agents
        return range(begin, self.last)

    def leave(self, agents):
        self.first = agents.stop

    def live(self, agents, steps):
        return iter(())


@pytest.mark.parametrize(("seconds", "going"), [(3600.0, 5), (2.5, 2), (0.5, 0)])
def test_half_of_the_agents_go_or_as_many_as_others_can_be_built_in_the_time(seconds, going):
    living = Living(Crowd(), SimpleNamespace(steps=2), None, None, lambda label, agents: None)
    while len(living.there) < 10:
        living.come(10)
    living.agent_seconds = 1.0
    assert living.replace(seconds) == going
    assert living.there == range(going, 10 + going)
