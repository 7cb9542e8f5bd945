"""What advice is drawn from, on agents and imports whose truth is known."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from memprof_fake.agents import FakePopulation

from memprof.instruments import DirectCalls
from memprof.instruments.contents import contents
from memprof.instruments.imports import ImportWatch
from memprof.instruments.objects import gains
from memprof.populations import EACH, EVERYBODY
from memprof.values.population import EpisodeSpec, PopulationSpec
from tests.conftest import ROOT


def objects(*arrays):
    """As PyMDP keeps A, B and others."""
    out = np.empty(len(arrays), dtype=object)
    out[:] = arrays
    return out


def mostly_zeros():
    array = np.zeros((10, 10, 2))
    array[0, :, 0] = 1.0  # 10 of 200
    return array


def row(*holdings, agents=4):
    (found,) = contents(holdings, agents)
    return found


def test_copies_are_told_from_what_is_held_once():
    held_once = objects(mostly_zeros())
    copied = row(*((agent, "B", objects(mostly_zeros(), np.ones(3))) for agent in range(4)))
    shared = row(*((agent, "B", objects(held_once[0])) for agent in range(4)))
    assert (copied.compared, copied.alike, copied.copies) == (4, 4, 3)
    assert (shared.compared, shared.alike, shared.copies) == (4, 4, 0)
    assert copied.number_bytes == 1600 + 24
    # two arrays of 96 bytes and 16 per dimension, and the array of objects around them
    assert copied.agent_bytes == 1624 + (96 + 48) + (96 + 16) + (96 + 16 + 16)
    assert shared.zeros == pytest.approx(0.95)


@pytest.mark.parametrize(
    "differs",
    [
        np.where(np.arange(200).reshape(10, 10, 2) == 199, 1e-300, mostly_zeros()),
        np.where(mostly_zeros() == 0, -0.0, mostly_zeros()),
        mostly_zeros().astype(np.float32),
        mostly_zeros().reshape(20, 10),
    ],
    ids=["an entry", "signs of zeros", "precision", "shape"],
)
def test_an_agent_that_differs_in_anything_is_not_alike(differs):
    arrays = [mostly_zeros(), mostly_zeros(), differs, mostly_zeros()]
    found = row(*((agent, "B", objects(array)) for agent, array in enumerate(arrays)))
    assert (found.compared, found.alike, found.copies) == (4, 3, 2)


def test_arrays_that_are_not_contiguous_are_compared_by_content():
    wide = np.arange(200.0).reshape(10, 20)
    found = row((0, "A", wide[:, ::2]), (1, "A", wide[:, ::2].copy()), (2, "A", wide[:, 1::2]))
    assert (found.compared, found.alike, found.copies) == (3, 2, 1)


def test_at_most_twenty_agents_are_compared_and_fewer_of_a_gigabyte():
    many = [(agent, "A", np.ones(8)) for agent in range(30)]
    assert row(*many).compared == 20
    huge = np.broadcast_to(np.zeros(1), (2**27,))  # takes nothing, and says it is a gigabyte
    assert row(*((agent, "A", huge) for agent in range(5))).compared == 2


def test_what_is_no_plain_data_and_what_is_nobodys_has_no_row():
    holdings = [(0, "other agent objects", object()), (EVERYBODY, "template", np.ones(8))]
    holdings += [(0, "E", None), (1, "E", None), (EACH, "environment", [None])]
    assert contents(holdings, 2) == ()


def test_a_batch_is_compared_along_its_first_axis():
    jax = pytest.importorskip("jax")
    batch = np.stack([mostly_zeros()] * 4).astype(np.float32)
    batch[3, 5, 5, 1] = 0.5
    found = row((EACH, "B", [jax.numpy.asarray(batch), jax.numpy.ones(7)]))
    assert (found.component, found.compared, found.alike, found.copies) == ("B", 4, 3, 2)
    assert found.agent_bytes == 800
    assert found.zeros == pytest.approx((4 * 190 - 1) / 800)


def spec_of(growth, passes=(), episodes=None):
    return PopulationSpec(
        backend="fake", model={"size": 1000, "growth": growth, "delay": 0.0, "fault": "none"},
        private=True, differs=False, agent={}, learning=(), passes=passes,
        options={}, loop="", folder="", seed=0, agents=3, steps=2, episodes=episodes,
    )  # fmt: skip


def population(spec):
    found = FakePopulation(spec, DirectCalls())
    for _ in found.live(found.grow(3), range(2)):
        pass
    return found


def test_an_attribute_that_grows_is_found_with_what_it_gains():
    spec = spec_of(growth=152 - sys.getsizeof(bytearray(1)) + 1)
    (found,) = gains(population(spec), spec)
    assert found.attribute == "FakeAgent.gained"
    assert found.bytes_per_step == pytest.approx(152 + 8, abs=4)  # and its place in the list
    assert (found.agents, found.steps) == (3, 32)


def test_what_does_not_grow_is_no_gain():
    assert gains(population(spec_of(growth=0)), spec_of(growth=0)) == ()


def test_whole_episodes_lie_between_two_marks():
    spec = spec_of(growth=152, episodes=EpisodeSpec(7))
    assert [spec.whole(steps) for steps in (1, 7, 8)] == [7, 7, 14]
    (found,) = gains(population(spec), spec)
    assert found.steps == 2 * 21


WATCHED = """
import json, sys
from msgspec.structs import asdict
from memprof.instruments.imports import ImportWatch

finders = list(sys.meta_path)
with ImportWatch() as watch:
    import light_of_ours
assert sys.meta_path == finders
assert type(light_of_ours.__loader__).__name__ == "SourceFileLoader"
assert light_of_ours.__spec__.loader is light_of_ours.__loader__
print(json.dumps({each.package: asdict(each) for each in watch.rows("model")}))
"""


def test_what_an_import_takes_is_its_own_packages(tmp_path):
    """In a process of its own, as it is used: other tests' garbage may go at any import."""
    (tmp_path / "heavy_of_ours").mkdir()
    (tmp_path / "heavy_of_ours" / "__init__.py").write_text("from heavy_of_ours import data\n")
    (tmp_path / "heavy_of_ours" / "data.py").write_text("HELD = bytearray(b'1') * 30_000_000\n")
    (tmp_path / "light_of_ours.py").write_text("import colorsys\nimport heavy_of_ours\n")
    (tmp_path / "watched.py").write_text(WATCHED)
    done = subprocess.run(
        [sys.executable, "watched.py"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    rows = json.loads(done.stdout)
    heavy = rows["heavy_of_ours"]
    assert heavy["private_bytes"] == pytest.approx(30e6, rel=0.05)
    assert heavy["modules"] == 2
    assert heavy["asked_by"] == "model"
    assert heavy["seconds"] > 0
    assert rows.get("light_of_ours", heavy | {"private_bytes": 0})["private_bytes"] < 2e6
    assert "colorsys" not in rows, "it is of the standard library"


def test_a_failing_import_fails_as_without_the_watch(tmp_path, monkeypatch):
    (tmp_path / "broken_of_ours.py").write_text("import no_such_module_of_ours\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with ImportWatch() as watch:
        with pytest.raises(ModuleNotFoundError, match="no_such_module_of_ours"):
            import broken_of_ours  # noqa: F401
        import graphlib  # noqa: F401
    assert all(row.package != "no_such_module_of_ours" for row in watch.rows("pymdp"))
