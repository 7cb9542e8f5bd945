"""Workers of tests load what PyMDP only plots with when it is used, as under `lean_imports`, and
its own environments, which rotate the picture of a mouse for seconds, when they are asked for.

That saves nine tenths of what they would import, most of a short worker's life. Tests that ask
about imports, or about a whole process, start workers without it (`whole_imports`).
"""

import sys
from importlib.util import find_spec


class _Finder:
    """Finds a module as others do, to run it in another way."""

    def __init__(self, name):
        self._name = name

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
        module.__spec__.loader = module.__loader__ = self._loader
        self.run(module)


class _Lean(_Finder):
    """Lets a module run with stand-ins for those that it plots with."""

    def __init__(self, name, deferred):
        super().__init__(name)
        self._deferred = deferred

    def run(self, module):
        from memprof.optimise.settings import standing_in

        with standing_in(*(name for name in self._deferred if name not in sys.modules)):
            self._loader.exec_module(module)


class _OnDemand(_Finder):
    """Runs a package when one of its own names is asked for; its modules come without it."""

    def run(self, module):
        def load(name):
            if name.startswith("__"):
                raise AttributeError(name)
            del module.__getattr__
            self._loader.exec_module(module)
            return getattr(module, name)

        module.__getattr__ = load


def install():
    """Import PyMDP without what it plots with, from now on."""
    from memprof.upstream import DEFERRED
    from memprof.upstream.installed import package_of

    sys.meta_path.insert(0, _Lean(package_of("numpy"), DEFERRED))
    if package_of("jax"):
        sys.meta_path.insert(0, _Lean("pymdp.agent", DEFERRED[:2]))
        sys.meta_path.insert(0, _OnDemand("pymdp.envs"))


_OURS = {"memprof.worker", "memprof.launch.server"}
if any(each in _OURS or each.endswith("/default_worker.py") for each in sys.orig_argv):  # Ray's
    install()
