"""What is followed of a process while it lives: the recent past, and alerts."""

import logging
import os
import socket
import sys

import pytest
from msgspec.structs import replace

import memprof
from memprof.errors import UsageError
from memprof.text import A_DAY, parse_seconds
from memprof.top.ask import watched
from memprof.values.live import Live, LiveKind
from memprof.values.watch import Growth
from memprof.watching import observer, unseen
from memprof.watching.alerts import Alerts
from memprof.watching.rounds import RECENT_READINGS, RECENT_SECONDS, Recent, Rounds

NOTHING = Live(
    pid=1, program="", began=0.0, seconds=0.0, uss_bytes=0, resident_bytes=0, peak_bytes=0,
    kinds=(), shared_bytes=0, looked_seconds=0.0, operations=(), growth=None, compiling=None,
    watch_seconds=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10 s", 10), ("500 ms", 0.5), ("2min", 120), (" 1.5 h ", 5400), (7, 7), ("0.25", 0.25)],
)
def test_durations_are_read_as_people_write_them(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "10 days", "-1", "1e3", "nan", "10 s ago", None, True])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="expected a duration"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "most"), [("99 ms", "a day"), ("24.1 h", "a day"), ("2 min", "60 s")]
)
def test_a_duration_lies_within_its_bounds(text, most):
    with pytest.raises(ValueError, match=rf"^expected 0\.1 s to {most}$"):
        parse_seconds(text, 0.1, 60.0 if most == "60 s" else A_DAY)


class Life:
    """Three agents that step, and a process that grows as it is told."""

    def __init__(self):
        self.size = self.seconds = 0
        self.rounds = Rounds(lambda: self.size)
        self.recent = Recent(self.rounds)

    def live(self, steps, each, per_reading=50):
        for step in range(steps):
            self.size += each
            for agent in range(3):
                self.rounds.act(agent, 3, lambda: 3)
            if step % per_reading == 0:
                self.seconds += RECENT_SECONDS
                self.recent.take(self.seconds)
        return self.recent.growth()


def test_a_leak_that_begins_late_is_seen_and_one_that_has_ended_is_forgotten():
    life = Life()
    lately = RECENT_READINGS * 50
    assert life.live(20_000, 0).verdict == "clean"
    found = life.live(lately, 4096)
    assert found.verdict == "leak"
    assert found.bytes_per_step == pytest.approx(4096)
    assert found.last_step - found.first_step == pytest.approx(lately, rel=0.02)
    assert life.rounds.growth().verdict != "leak", "over all of its life it is too short"
    assert life.live(lately, 0).verdict == "clean"


def test_a_short_life_is_judged_by_its_steps():
    life = Life()
    assert life.recent.growth() is None
    assert life.live(20, 4096, per_reading=100).verdict == "leak"
    life.recent.take(life.seconds)
    assert len({*map(id, (life.recent.growth(), life.recent.growth()))}) == 1, "judged once"


def leaking(seconds, verdict="leak"):
    growth = Growth(3, 1, int(seconds) + 1, verdict, 100.0, (90.0, 110.0), None)
    return replace(NOTHING, seconds=float(seconds), growth=growth)


def test_growth_has_to_last_and_is_told_of_once():
    told = []
    alerts = Alerts(None, 300.0, told.append)

    def judged(*lives):
        for live in lives:
            alerts.judge(live)
        alerts.finish()
        return len(told)

    assert judged(*map(leaking, range(0, 299, 10))) == 0
    assert judged(leaking(299, "inconclusive"), *map(leaking, range(300, 600, 10))) == 0
    assert judged(leaking(600), leaking(600), leaking(610), leaking(700)) == 1
    assert (told[0].what, told[0].bytes, told[0].seconds) == ("growth", 100.0, 600.0)
    assert judged(leaking(800, "inconclusive"), leaking(900), leaking(1300)) == 1
    assert alerts.active == (told[0],)
    assert judged(leaking(1400, "clean")) == 1
    assert alerts.active == ()
    assert judged(leaking(1500), leaking(1800)) == 2
    still = replace(leaking(1800), seconds=9000.0)
    fresh = Alerts(None, 300.0, told.append)
    for live in (leaking(1800), still):
        fresh.judge(live)
    assert fresh.active == (), "agents that do not step are no evidence"


def holding(**kinds):
    return replace(
        NOTHING,
        kinds=tuple(
            LiveKind(name, "numpy", int(size > 0), 1, size, size) for name, size in kinds.items()
        ),
    )


def test_a_callback_that_fails_is_logged_and_an_alert_is_of_one_kind(caplog):
    def fail(alert):
        raise SystemExit(f"no such pager for {alert.kind}")

    alerts = Alerts(1000, 0.0, fail)
    with caplog.at_level(logging.INFO, logger="memprof"):
        for live in (
            holding(a=2000.0, b=10.0), holding(a=3000.0, b=1001.0), holding(a=0.0, b=9999.0),
            holding(a=1500.0, b=1000.0),
        ):  # fmt: skip
            alerts.judge(live)
            alerts.finish()
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert [each.alert.kind for each in warnings] == ["a", "b", "a"]
    assert warnings[1].getMessage() == (
        "b: an agent holds 1.00 KB, above the budget of 1.00 KB"
    )  # fmt: skip
    failures = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.exc_info[0] for each in failures] == [SystemExit] * 3
    well = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
    assert well == ["well again: a: within the budget", "well again: b: within the budget"]
    assert alerts.raised == {("budget", "a"): 2, ("budget", "b"): 1}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"interval": "soon"}, "interval: expected a duration such as 500 ms, 10 s"),
        ({"interval": 0.01}, "interval: expected 0.1 s to a year, found 0.01"),
        ({"budget": "2 MB"}, "budget: expected per_agent=SIZE, such as per_agent=2MB"),
        ({"budget": "per_agent=0"}, "budget: expected a size above 0"),
        ({"prometheus_port": 70_000}, "prometheus_port: expected 0 to 65,535, found 70000"),
        ({"prometheus_port": "9464"}, "prometheus_port: expected 0 to 65,535, found '9464'"),
        ({"alert": "me"}, "alert: expected a function, found 'me'"),
        ({"leak_after": -1}, "leak_after: expected a duration"),
    ],
)
def test_what_cannot_be_watched_is_refused_at_once(given, words):
    with pytest.raises(UsageError) as error:
        memprof.watch(**given)
    assert words in str(error.value)


def test_without_the_library_there_is_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=r"pip install 'memprof-pymdp\[prometheus\]'"):
        memprof.watch(prometheus_port=0)


def test_a_port_that_is_taken_is_said_before_the_block_and_nothing_is_left():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        watch = memprof.watch(prometheus_port=port)
        with pytest.raises(UsageError, match=f"port {port}: address already in use; choose"):
            watch.__enter__()
        assert observer.current() is None
        assert unseen.running() == 0
        assert os.getpid() not in watched()
    with watch:
        assert os.getpid() in watched()
        with pytest.raises(UsageError, match="it watches already"):
            watch.__enter__()
    assert watch.prometheus_port is None


def test_watches_side_by_side_share_an_observer_until_the_last_one_ends():
    first, second = memprof.watch(), memprof.watch(prometheus_port=0)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert observer.current() is not None, "the second goes on"
    assert second.live().agents == 0
    with socket.create_connection(("127.0.0.1", second.prometheus_port)):
        pass
    second.__exit__(None, None, None)
    assert observer.current() is None
    assert list(second.metrics().collect()) == []
