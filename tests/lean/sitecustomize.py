"""Workers of tests load what PyMDP only plots with when it is used, as under `lean_imports`.

That saves nine tenths of what they would import, most of a short worker's life. Tests that ask
about imports, or about a whole process, start workers without it (`whole_imports`).
"""

import sys
from importlib.util import find_spec


class _Lean:
    """Finds a module as others do, and lets it run with stand-ins for those that it plots with."""

    def __init__(self, name, deferred):
        self._name, self._deferred = name, deferred

    def find_spec(self, name, path=None, target=None):
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from memprof.optimise.settings import standing_in

        module.__spec__.loader = module.__loader__ = self._loader
        with standing_in(*(name for name in self._deferred if name not in sys.modules)):
            self._loader.exec_module(module)


def install():
    """Import PyMDP without what it plots with, from now on."""
    plots = ("matplotlib", "matplotlib.pyplot")
    sys.meta_path.insert(0, _Lean("pymdp.legacy", (*plots, "scipy.special", "seaborn")))
    sys.meta_path.insert(0, _Lean("pymdp.agent", plots))


if "memprof.worker" in sys.orig_argv:
    install()
