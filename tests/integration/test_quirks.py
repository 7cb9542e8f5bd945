"""Quirks of agents' attributes: as with plain agents under every plan, or refused with a remedy."""

import copy

import pytest

from tests.quirks import QUIRKS
from tests.stages import PLANS, WRONG, Stage, judge

VARIANTS = ("not of the first", "of the first too", "from a block")
SHORT = [name for name in QUIRKS if not name.endswith(VARIANTS)]
# In records and on disk; the others hold agents as one of these does, and take turns.
WHOLE = ("auto", "mmap")
TURNS = 3


def test_there_are_enough_of_them():
    assert len(SHORT) >= 70
    assert len(PLANS) >= 6


@pytest.mark.parametrize("plan", PLANS)
def test_quirks_are_kept_or_refused(plan):
    """`make fuzz` has the variants too, and all of them under every plan."""
    first = list(PLANS).index(plan) % TURNS
    names = SHORT if plan in WHOLE else SHORT[first::TURNS]
    outcomes = {name: judge(QUIRKS[name], PLANS[plan]) for name in names}
    wrong = [
        f"{name}: {outcome}: {words}"
        for name, (outcome, words) in outcomes.items()
        if outcome in WRONG
    ]
    assert not wrong, "\n".join(wrong)


class Forgetful(Stage):
    """Puts agents to rest attribute by attribute, so that identities are lost."""

    def take(self, agents):
        super().take([copy.copy(agent) for agent in agents])
        for agent in self._agents:
            vars(agent).update({name: copy.deepcopy(it) for name, it in vars(agent).items()})


@pytest.mark.parametrize(
    ("quirk", "same"),
    [
        ("one list under two names", False),
        ("a slice of an array", False),
        ("shared by agents: a mailbox", False),
        ("kept outside: a list", False),
        ("a weak reference to an agent", False),
        ("equal lists that are two", True),
        ("keys of all kinds", True),
        ("a value: np.datetime64", True),
    ],
)
def test_what_is_lost_is_seen(quirk, same):
    plain, forgetful = Stage(), Forgetful()
    for stage in (plain, forgetful):
        stage.play(QUIRKS[quirk])
    pairs = zip(plain.seen, forgetful.seen, strict=True)
    assert all(expected.shows(found) for expected, found in pairs) is same
