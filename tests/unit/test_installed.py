"""Which PyMDP is here is found by its modules, on made-up layouts of releases."""

import contextlib
import sys

import pytest

from memprof.errors import FieldError, UsageError
from memprof.profile.cautions import of_workers
from memprof.upstream import installed, keywords
from memprof.upstream.installed import agent_of, missing, require, untried, version
from memprof.upstream.keywords import check_jax, check_numpy

AGENT = "class Agent:\n    def __init__(self, A, B, pA=None, use_param_info_gain=False): pass\n"
NUMPY, JAX = f"import numpy as np\n{AGENT}", f"from jax import vmap\nimport equinox\n{AGENT}"
LAYOUTS = {
    "0.0.7.1": {"agent.py": NUMPY},
    "1.0.0": {"agent.py": JAX, "legacy/__init__.py": "", "legacy/agent.py": NUMPY},
    "9.0": {"agent.py": JAX},
}
FOUND = (installed.folder, installed.package_of, version, keywords._parameters)


@pytest.fixture
def pymdp(tmp_path, monkeypatch):
    """Have a release of these files, of this version, instead of the one that is here."""

    def lay(release, files, origin="{}", numpy="2.3.5"):
        for name, text in {"__init__.py": "raise SystemExit", **files}.items():
            path = tmp_path / "pymdp" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, its in (("inferactively-pymdp", release), ("numpy", numpy)):
            about = tmp_path / f"{name.replace('-', '_')}-0.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(f"Name: {name}\nVersion: {its}\n")
            (about / "direct_url.json").write_text(origin)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "pymdp", raising=False)
        for function in FOUND:
            function.cache_clear()

    yield lay
    monkeypatch.undo()
    for function in FOUND:
        function.cache_clear()


class Asked:
    """A scenario of such agents."""

    backend, passes, loop, steps = "numpy", (), None, 5

    def __init__(self, learning=(), **agent):
        self.agent, self.learning = agent, learning


@pytest.mark.parametrize(
    ("release", "numpy", "jax"),
    [("0.0.7.1", "pymdp", ""), ("1.0.0", "pymdp.legacy", "pymdp"), ("9.0", "", "pymdp")],
)
def test_each_backends_agents_are_found_where_a_release_has_them(pymdp, release, numpy, jax):
    pymdp(release, LAYOUTS[release])
    assert [installed.package_of(backend) for backend in ("numpy", "jax")] == [numpy, jax]
    assert "pymdp" not in sys.modules


def test_the_modules_decide_and_not_the_version(pymdp):
    pymdp("0.0.7.1", LAYOUTS["1.0.0"])
    assert (agent_of("numpy"), missing("jax")) == ("pymdp.legacy.agent.Agent", ("", ""))


def test_what_a_release_lacks_is_the_scenarios_mistake_and_says_what_to_install(pymdp):
    pymdp("0.0.7.1", LAYOUTS["0.0.7.1"])
    check = pytest.raises(FieldError, match=r"0\.0\.7\.1 has no JAX agents.*pip install '.*>=1\.0")
    with check as found:
        check_jax(Asked())
    assert found.value.field == "backend"


def test_keywords_that_came_later_are_told_from_typing_errors(pymdp):
    pymdp("0.0.7.1", LAYOUTS["0.0.7.1"])
    with pytest.raises(FieldError, match=r"came with PyMDP 1\.0\.0, and this is 0\.0\.7\.1; leave"):
        check_numpy(Asked(sophisticated=True))
    with pytest.raises(FieldError, match=r"came with PyMDP 1\.0\.0, and this is"):
        keywords.check_numpy_together({"H": None}, Asked())
    with pytest.raises(FieldError, match="not a keyword of PyMDP's NumPy agent; did you mean"):
        check_numpy(Asked(use_param_info_gian=True))


@pytest.mark.parametrize(
    ("release", "numpy", "learning", "fails"),
    [
        ("0.0.7.1", "2.4.0", ("A",), True),
        ("0.0.7.1", "2.3.5", ("A",), False),
        ("0.0.7.1", "2.4.0", ("B",), False),
        ("1.0.0", "2.4.0", ("A",), False),
    ],
)
def test_what_fails_with_a_later_numpy_is_refused_with_it(pymdp, release, numpy, learning, fails):
    pymdp(release, LAYOUTS[release], numpy=numpy)
    asked = Asked(learning, use_param_info_gain=True)
    with (
        pytest.raises(FieldError, match=r"found 2\.4\.0.*install numpy<2\.4")
        if fails
        else contextlib.nullcontext()
    ):
        check_numpy(asked)


def test_a_later_one_without_numpy_agents_is_refused_for_them_alone(pymdp):
    pymdp("9.0", LAYOUTS["9.0"])
    with pytest.raises(FieldError, match=r"9\.0 has no NumPy agents: pip install .*==1\.0\.4"):
        check_numpy(Asked())
    assert missing("jax") == ("", "")
    assert untried() == "PyMDP 9.0; memprof was tried with 0.0.7.1 to 1.0.4"


def test_a_report_says_that_a_version_was_not_tried(pymdp):
    assert [*of_workers(None, ())] == []
    pymdp("1.0.5", LAYOUTS["1.0.0"])
    (caution,) = of_workers(None, ())
    assert (caution.kind, caution.evidence) == ("untried", untried())


def test_none_at_all_and_one_that_is_too_old_are_not_the_scenarios_mistake(pymdp):
    pymdp("0.0.7", LAYOUTS["0.0.7.1"])
    for check in (check_numpy, lambda _: require("numpy")):
        with pytest.raises(UsageError, match=r"0\.0\.7 is older than 0\.0\.7\.1.*pip install"):
            check(Asked())


def test_another_package_of_the_name_is_not_it(pymdp):
    pymdp("1.0.4", {})
    with pytest.raises(UsageError, match=r"not installed.*called pymdp is something else"):
        check_numpy(Asked())


def test_a_commit_is_no_release(pymdp):
    pymdp("1.0.4", LAYOUTS["1.0.0"], '{"url": "x", "vcs_info": {"commit_id": "0123456789abcdef"}}')
    assert version() == "1.0.4+012345678"
    assert untried().startswith("PyMDP 1.0.4+012345678; ")
