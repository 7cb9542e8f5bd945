import json
import re

import pytest
import yaml

from tests.conftest import SCENARIOS, whole_path


def test_version(memprof):
    assert memprof("--version").out.startswith("memprof 0.")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "models",
            ["grid_world", "maze", "t_maze", "random_pomdp", "npz", "factory", "num_states"],
        ),
        ("instruments", ["tracemalloc", "memory_profiler", "pympler", "process", "blind to:"]),
        (
            "passes",
            ["share", "claim: exact", "copy on write", "by at most 1e-05", "template", "mmap"],
        ),
        ("formats", ["json\n    NAME.json: ", "markdown\n    NAME.md: "]),
    ],
)
def test_what_there_is_is_listed(memprof, command, words):
    run = memprof(command)
    assert run.code == 0
    assert all(word in run.out for word in words)


def test_an_instrument_for_one_backend_says_so(memprof):
    assert memprof("instruments").out.count("    backend: jax only\n") == 1


LISTS = ("models", "passes", "instruments", "formats")


@pytest.mark.parametrize("command", LISTS)
def test_what_a_package_adds_is_listed_with_where_it_is_from(memprof, command):
    """That of our own tests is such a package; where it is not installed nothing of it is there."""
    with_it, without = memprof(command), memprof(command, PYTHONPATH=whole_path(support=False))
    assert without.code == 0
    assert "memprof-fake" not in without.out
    assert ("memprof-fake" in with_it.out) == (command != "formats")
    entries = json.loads(memprof(command, "--json", "-").out)
    added = {"memprof-fake"} if command != "formats" else set()
    assert {each["origin"] for each in entries} == {"memprof"} | added
    assert [each["name"] for each in entries] == re.findall(r"^([\w-]+)$", with_it.out, re.M)[
        : len(entries)
    ]


def test_auto_is_the_last_of_the_passes(memprof):
    assert memprof("passes", COLUMNS="200").out.splitlines()[-2:] == [
        "auto",
        "    measures the exact passes on the scenario and keeps the smallest plan whose time per "
        "step stays within max_slowdown; used alone",
    ]


def test_the_schema_knows_auto(memprof):
    fields = json.loads(memprof("schema").out)["properties"]
    assert {"const": "auto"} in fields["passes"]["anyOf"]
    assert fields["max_slowdown"]["minimum"] == 1


def test_the_schema_describes_the_shipped_scenarios(memprof):
    schema = json.loads(memprof("schema").out)
    assert schema["required"] == ["name"]
    kinds = {
        schema["$defs"][each["$ref"].rpartition("/")[2]]["properties"]["kind"]["const"]
        for each in schema["properties"]["model"]["oneOf"]
    }
    for path in SCENARIOS.glob("*.yaml"):
        fields = yaml.safe_load(path.read_text())
        assert set(fields) <= set(schema["properties"])
        assert all(each["model"]["kind"] in kinds for each in fields.get("kinds", [fields]))


def test_no_arguments_show_the_help(memprof):
    run = memprof()
    assert "Usage" in run.out + run.err
    assert "profile" in run.out + run.err
