"""The pass `lean_imports` on real PyMDP agents, each case in an interpreter of its own."""

import subprocess
import sys
from textwrap import dedent

import pytest

_AGENTS = """
from memprof.instruments import process
from memprof.instruments import DirectCalls
from memprof.populations import population_class
from memprof.populations.trace import DigestTrace
from memprof.values.population import PopulationSpec

def live(passes):
    spec = PopulationSpec(
        backend="numpy", model={"kind": "grid_world", "size": 5}, private=True,
        differs=False, agent={"policy_len": 1}, learning=(), passes=passes,
        options={}, loop="", agents=4, steps=5, seed=0, folder="",
    )
    population, digests = population_class(spec)(spec, DirectCalls()), DigestTrace(4, 5)
    for lived in population.live(population.grow(4), range(5)):
        digests.record(*lived)
    return population, digests.per_agent()
"""

_LEAN = """
import sys
from types import ModuleType
from memprof.optimise.settings import LeanImports
LeanImports().install()
from pymdp.legacy import maths, utils
from pymdp.legacy.envs import grid_worlds
"""

_HEAVY = {"matplotlib", "matplotlib.pyplot", "pandas", "PIL", "scipy.special", "seaborn"}


def python(*code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(map(dedent, code))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_agents_need_none_of_the_heavy_modules_and_fit_into_60_megabytes():
    out = python(
        _LEAN,
        "import memprof.profile.worker",
        _AGENTS,
        f"""
        population, digests = live(("lean_imports",))
        assert not {_HEAVY} & set(sys.modules), {_HEAVY} & set(sys.modules)
        population.close()
        live(("lean_imports",))
        reading = process.read()
        print(reading.uss_bytes or reading.rss_bytes)
        """,
    )
    assert int(out) < 60e6


def test_it_is_what_they_would_weigh_and_the_agents_behave_the_same():
    both = "population, digests = live({!r}); print(process.read().private_bytes, *digests)"
    fat, *behaviour = python(_AGENTS, both.format(())).split()
    lean, *lean_behaviour = python(_LEAN, _AGENTS, both.format(("lean_imports",))).split()
    assert behaviour == lean_behaviour
    assert int(fat) - int(lean) > 60e6


def test_importing_the_worker_imports_no_backend():
    python(
        f"""
        import sys
        import memprof.profile.worker
        assert not ({_HEAVY} | {{"pymdp", "scipy"}}) & set(sys.modules)
        """
    )


def test_plots_are_drawn_as_ever():
    python(
        "import os; os.environ['MPLBACKEND'] = 'agg'",
        _LEAN,
        """
        import numpy as np
        shown = []
        utils.plt.show = lambda: shown.append(pyplot.gcf())
        from matplotlib import pyplot
        utils.plot_beliefs(np.array([0.25, 0.75]))
        assert [bar.get_height() for bar in shown[-1].axes[0].patches] == [0.25, 0.75]
        utils.plt.figure()
        utils.plot_likelihood(np.eye(3))
        assert shown[-1].axes[0].collections[0].get_array().size == 9
        utils.sns.heatmap(np.eye(2), cbar=False)
        grid_worlds.GridWorldEnv().render()
        assert len(shown) == 3
        """,
    )


@pytest.mark.parametrize(
    "first",
    [
        "import matplotlib.pyplot as plt",
        "from matplotlib import pyplot as plt",
        "import matplotlib; import matplotlib.colors; import matplotlib.pyplot as plt",
        "import seaborn.utils; import matplotlib.pyplot as plt",
        "import scipy.stats; import matplotlib.pyplot as plt",
        "plt = utils.plt; assert isinstance(plt, ModuleType); dir(plt)",
    ],
)
def test_other_code_imports_nothing_but_real_modules(first):
    python(
        _LEAN,
        first,
        """
        import matplotlib.colors, scipy.special, seaborn, numpy as np
        assert plt.figure and utils.plt.figure is matplotlib.pyplot.figure
        assert utils.sns.heatmap is seaborn.heatmap
        assert maths.special.gammaln is scipy.special.gammaln
        assert matplotlib.colors.Colormap is matplotlib.cm.colors.Colormap
        z = np.array([[2.5], [1.5]])
        assert maths.spm_betaln(z) == scipy.special.gammaln(z).sum() - scipy.special.gammaln(4.0)
        assert all(type(each).__name__ != "StandIn" for each in sys.modules.values())
        """,
    )


def test_modules_that_are_already_imported_are_used_as_they_are():
    python(
        "import matplotlib, seaborn",
        _LEAN,
        "assert utils.sns is seaborn and utils.plt is matplotlib.pyplot",
    )
    python(
        "import matplotlib",
        _LEAN,
        "assert 'matplotlib.pyplot' not in sys.modules and 'seaborn' not in sys.modules",
        "import matplotlib.pyplot",
        "assert matplotlib.pyplot.figure is utils.plt.figure",
    )


def test_pymdp_may_be_imported_before_and_installing_twice_is_harmless():
    python(
        "from pymdp.legacy import utils; sns = utils.sns",
        _LEAN,
        "LeanImports().install(); assert utils.sns is sns is sys.modules['seaborn']",
    )
    python(_LEAN, "sns = utils.sns; LeanImports().install(); assert utils.sns is sns")


def test_a_module_that_is_used_while_pymdp_is_imported_is_loaded_then(tmp_path):
    """As another version of PyMDP might."""
    package = tmp_path / "pymdp" / "legacy"
    package.mkdir(parents=True)
    package.parent.joinpath("__init__.py").touch()
    package.joinpath("__init__.py").write_text(
        "import matplotlib.pyplot as plt\nfrom scipy import special\nnow = special.gammaln\n"
    )
    python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})",
        "from memprof.optimise.settings import LeanImports; LeanImports().install()",
        "import pymdp.legacy, scipy.special, matplotlib.pyplot",
        "assert pymdp.legacy.now is scipy.special.gammaln",
        "assert pymdp.legacy.plt.figure is matplotlib.pyplot.figure",
    )


def test_the_first_use_may_come_from_many_threads_at_once():
    python(
        _LEAN,
        """
        from concurrent.futures import ThreadPoolExecutor
        from threading import Barrier
        barrier = Barrier(8)
        def use(number):
            barrier.wait()
            return utils.sns.heatmap if number % 2 else utils.plt.figure
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(use, range(8)))
        assert found == {utils.sns.heatmap, utils.plt.figure}
        """,
    )


@pytest.mark.usefixtures("whole_imports")
def test_the_report_shows_smaller_imports(memprof, scenario):
    large = {"kind": "grid_world", "size": 10}  # their cost is soon resolved
    run = memprof("profile", scenario(model=large, passes=["lean_imports"]), "-q")
    assert run.code == 0, run.err
    report = run.report()
    before, after = report["variants"]["before"], report["variants"]["after"]
    assert report["equivalence"]["verdict"] == "exact"
    assert after["imports_bytes"] < 0.1 * before["imports_bytes"]
    assert after["uss_bytes"] < 60e6 < before["uss_bytes"]
