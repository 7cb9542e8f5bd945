"""When two runs can be compared."""

import platform
import sysconfig

import pytest
from msgspec.structs import replace

from memprof.gate.differences import environment_changes, scenario_changes, scenario_hash
from memprof.launch.machine import describe_environment
from memprof.posix import PAGE_BYTES
from memprof.values.instruments import Calibration
from memprof.values.measurements import WorkerRun

JEMALLOC = WorkerRun(facts={}, calibration=Calibration(malloc="jemalloc"))
SCENARIO = {"name": "grid", "agents": 20, "repeats": 3, "budget": None, "model": {"size": 5}}


@pytest.fixture
def environment(report):
    return report().environment


@pytest.mark.parametrize("field", ["description", "instruments", "repeats", "budget", "tolerances"])
def test_how_a_scenario_is_measured_and_judged_is_indifferent(field):
    other = {**SCENARIO, field: "other"}
    assert scenario_hash(other) == scenario_hash(SCENARIO)
    assert scenario_changes(SCENARIO, other) == []


def test_what_decides_on_the_figures_is_named():
    other = {**SCENARIO, "agents": 10, "model": {"size": 6}}
    assert scenario_hash(other) != scenario_hash(SCENARIO)
    assert scenario_changes(SCENARIO, other) == [
        "agents: 20, now 10",
        "model.size: 5, now 6",
    ]


def test_the_order_of_fields_is_indifferent():
    assert scenario_hash(dict(reversed(SCENARIO.items()))) == scenario_hash(SCENARIO)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("huge_pages", "never", "huge pages"),
        ("allocator", {"libc": "musl 1.2"}, "allocator libc"),
        (
            "allocator",
            {"libc": "glibc 2.36", "MALLOC_ARENA_MAX": "1"},
            "allocator MALLOC_ARENA_MAX",
        ),
        ("device", "gpu", "device"),
        ("backend", {"x64": "on"}, "backend x64"),
        ("platform", "Linux 6.1 aarch64", "platform"),
        ("versions", {"python": "3.12.1", "numpy": "2.4"}, "python"),
        ("allocator", {"libc": "glibc 2.36", "malloc": "jemalloc"}, "allocator malloc"),
        ("python_build", "CPython, free-threaded", "python's build"),
        ("page_bytes", 65536, "page size"),
        (
            "versions",
            {"python": "3.11.7", "numpy": "2.4", "memprof-pymdp": "0.2.0"},
            "memprof-pymdp",
        ),
        ("versions", {"python": "3.11.7", "numpy": "2.5"}, "numpy"),
        ("versions", {"python": "3.11.7", "numpy": "2.4", "jax": "0.9"}, "jax"),
    ],
)
def test_another_environment_is_named(environment, field, value, said):
    plain = replace(
        environment,
        platform="Linux 6.1 x86_64",
        versions={"python": "3.11.7", "numpy": "2.4"},
        allocator={"libc": "glibc 2.36"},
    )
    (found,) = environment_changes(plain, replace(plain, **{field: value}))
    assert found.startswith(f"{said}: ")


def test_what_does_not_decide_is_indifferent(environment):
    plain = replace(environment, platform="Linux 6.1 x86_64", versions={"python": "3.11.7"})
    other = replace(
        plain,
        platform="Linux 6.8 x86_64",
        versions={"python": "3.11.9", "psutil": "8"},
        cpu_count=64,
        total_memory_bytes=1,
    )
    assert environment_changes(plain, other) == []


def test_the_build_of_python_is_what_it_says_of_itself(monkeypatch):
    """Of a free-threaded build, by what it reports."""
    found = describe_environment("numpy", JEMALLOC, None)
    assert found.allocator["malloc"] == "jemalloc"
    assert found.page_bytes == PAGE_BYTES
    assert found.python_build.split(", ")[0] == platform.python_implementation()
    told = {"Py_GIL_DISABLED": 1, "Py_DEBUG": 1}
    monkeypatch.setattr(sysconfig, "get_config_var", told.get)
    other = describe_environment("numpy", JEMALLOC, None)
    assert other.python_build.endswith(", free-threaded, debug")
    assert [each.partition(":")[0] for each in environment_changes(found, other)] == [
        "python's build"
    ]


def test_a_report_that_does_not_tell_is_not_alike(environment):
    """Those of older versions have neither malloc nor pages."""
    now = replace(environment, page_bytes=4096, allocator={"malloc": "glibc"})
    assert environment_changes(environment, now) == [
        "page size: none, now 4,096 bytes",
        "allocator malloc: none, now glibc",
    ]
