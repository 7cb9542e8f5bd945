"""Where there is nothing to hold a run against, `memprof gate` says what to do, and that works."""

import re
import shlex

import pytest


def advice(run):
    """The option that the message names, as arguments."""
    return shlex.split(re.search(r"((--\w+ ?)+)(, and commit| renews|\n)", run.err)[1])


def test_a_missing_baseline_is_made_by_what_the_message_says(memprof, fake):
    path = fake()
    run = memprof("gate", path, "-q")
    assert run.code == 3
    assert "there is no baseline memprof-baseline.json" in run.err
    assert memprof("gate", path, "-q", *advice(run)).code == 0
    assert (run.folder / "memprof-baseline.json").is_file()


def test_a_name_that_no_file_can_have_is_no_baseline(memprof, fake):
    run = memprof("gate", fake(), "-q", "--baseline", 300 * "x")
    assert run.code == 3
    assert run.err.startswith("memprof: there is no baseline xxx")
    assert "(File name too long)" in run.err


@pytest.mark.parametrize("changed", [("--agents", 5), ("--seed", 3)])
def test_a_foreign_baseline_is_replaced_by_what_the_message_says(memprof, fake, changed):
    path = fake()
    assert memprof("gate", path, "-q", "--update").code == 0
    run = memprof("gate", path, "-q", *changed)
    assert run.code == 3
    assert f"the scenario differs from that of the baseline ({changed[0][2:]}: " in run.err
    assert memprof("gate", path, "-q", *changed, "--update").code == 3, "unseen"
    assert memprof("gate", path, "-q", *changed, *advice(run)).code == 0
