"""Functions of modules that only a file, or only this process, leads to."""

import sys

import pytest

from memprof.errors import ScenarioError, UsageError
from memprof.models import model_builder
from memprof.models.factory import import_module
from memprof.scenario import scenario_of_function


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = {*sys.modules}
    yield
    for name in {*sys.modules} - known:
        del sys.modules[name]


def write(folder, **files):
    for name, text in files.items():
        file = folder.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_file_is_imported_under_any_name_and_its_package_with_it(tmp_path):
    write(tmp_path, lost__sub__own="from .beside import x\nfrom ..above import y")
    write(tmp_path, lost__sub__beside="x = 1", lost__above="y = 2")
    (tmp_path / "lost" / "__init__.py").write_text("first = True")
    module = import_module("lost.sub.own", str(tmp_path / "lost" / "sub" / "own.py"), [])
    assert (module.x, module.y) == (1, 2)
    assert sys.modules["lost"].first
    assert sys.modules["lost.sub"].__file__ is None
    assert str(tmp_path) not in sys.path
    assert not any(type(each).__module__.startswith("memprof") for each in sys.meta_path)


def test_the_file_decides_where_the_name_leads_elsewhere(tmp_path):
    write(tmp_path, a__twin="where = 'a'", b__twin="where = 'b'")
    path = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert import_module("twin", str(tmp_path / "b" / "twin.py"), path).where == "b"
    assert sys.path[:2] == path


def test_a_package_is_imported_by_its_own_file(tmp_path):
    write(tmp_path, odd__inner__here="z = 3")
    (tmp_path / "odd" / "inner" / "__init__.py").write_text("from .here import z")
    file = tmp_path / "odd" / "inner" / "__init__.py"
    assert import_module("odd.inner", str(file), []).z == 3


def test_what_the_name_finds_is_taken_as_it_is(tmp_path):
    """Another part of a namespace package stays reachable."""
    write(tmp_path, one__shared__agents="from shared import other\nw = other.w")
    write(tmp_path, two__shared__other="w = 4")
    path = [str(tmp_path / "one"), str(tmp_path / "two")]
    file = tmp_path / "one" / "shared" / "agents.py"
    assert import_module("shared.agents", str(file), path).w == 4


def test_the_fields_of_a_scenario_are_relative_to_it(tmp_path):
    write(tmp_path, src__made="from helper import size\ndef make(): return {'A': size}")
    write(tmp_path, lib__helper="size = 5")
    model = {"kind": "factory", "callable": "made:make", "params": {}}
    model |= {"file": "src/made.py", "path": ["lib"]}
    assert model_builder(model, str(tmp_path))(0).arguments == {"A": 5}


def test_a_users_error_is_shown_without_the_way_there(tmp_path):
    write(tmp_path, importlib_odd__broken="1 / 0")
    file = tmp_path / "importlib_odd" / "broken.py"
    model = {"kind": "factory", "callable": "x.broken:make", "params": {}, "file": str(file)}
    with pytest.raises(ScenarioError) as caught:
        model_builder(model, str(tmp_path))
    assert "cannot import x.broken: ZeroDivisionError" in caught.value.problem
    assert caught.value.detail.count("File ") == 1
    assert "broken.py" in caught.value.detail


# ------------------------------------------------------------ scenarios of functions


def build(agent):
    return {}


def test_a_function_is_a_factory_that_workers_find():
    loaded = scenario_of_function(build, {"size": 3}, {"agents": 7, "passes": []})
    scenario, model = loaded.scenario, loaded.scenario.model
    assert (scenario.name, scenario.agents, scenario.passes) == ("build", 7, [])
    assert model.callable.endswith("test_importing:build")
    assert model.file == __file__
    assert model.params == {"size": 3}
    assert str(loaded.path.resolve()) == __file__
    found = model_builder(loaded.spec(()).model | {"params": {}}, loaded.spec(()).folder)
    assert found(2).arguments == {}


class Maker:
    def method(self):
        return {}


def nested():
    def inner():
        return {}

    return inner


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: {"A": 1}, "<lambda> of "),
        (nested(), "nested.<locals>.inner of "),
        (Maker.method, "Maker.method of "),
        (Maker().method, "Maker.method of "),
        (3, "found int"),
        (len, "len of builtins"),
    ],
)
def test_what_workers_cannot_import_is_named(function, words):
    with pytest.raises(UsageError, match="expected a function at the top level") as caught:
        scenario_of_function(function, {}, {})
    assert words in str(caught.value)
    assert "params={...}" in str(caught.value)


@pytest.mark.parametrize(
    ("params", "fields", "words"),
    [
        ({"size": object()}, {}, "params: expected numbers, text"),
        ({}, {"model": {}}, "model: is the function build"),
        ({}, {"agnets": 3}, "agnets: unknown field; did you mean 'agents'?"),
        ({}, {"agents": "many"}, "agents: expected a whole number"),
    ],
)
def test_a_field_that_is_wrong_is_named(params, fields, words):
    with pytest.raises(ScenarioError) as caught:
        scenario_of_function(build, params, fields)
    assert str(caught.value).startswith(words)


def test_a_module_with_a_name_that_is_none_is_found_by_its_file(tmp_path):
    """pytest's import mode importlib makes such names, of folders such as 3d-tests."""
    write(tmp_path, odd="")
    module = import_module("3d-tests.test_odd", str(tmp_path / "odd.py"), [])
    exec("def make(): return {'A': 6}", vars(module))
    loaded = scenario_of_function(module.make, {}, {})
    assert loaded.scenario.model.callable == "_3d_tests.test_odd:make"
