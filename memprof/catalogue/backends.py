"""The backends by name: what others ask of them, readable without importing NumPy or PyMDP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from memprof.catalogue import Catalogue

# Where a backend's threads allocate, free memory at the end of their arenas (glibc) stays with the
# process, up to 64 MB for each, and would look like agents. One arena is given back as a whole.
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True, slots=True)
class Backend:
    """One way of running agents.

    Attributes:
        population: `module:class` of its `Population`.
        meet: its agents can live in one world.
        check: `module:function` that takes a scenario's fields and raises a `FieldError` at what
            its agents cannot have; empty for none.
        generative: its agents are built of generative models, which PyMDP's are; else of those
            models only that name the backend.
        packages: whose releases decide on what an agent takes, beside PyMDP and NumPy.
        loops: ways of running agents, the scenario's `loop`; its default first.
        compiles: it traces and compiles programs, and keeps arrays on a device.
        together: all agents step as one computation.
        environment: variables for its workers' allocator.
        cache: variables by which its workers find what one of them has compiled, in `{folder}`.
        imports: modules of its population, or all of that, which start no thread that a fork lacks:
            what the process imports that workers are forked from.
    """

    name: str
    population: str
    meet: bool = False
    check: str = ""
    generative: bool = True
    packages: tuple[str, ...] = ()
    loops: tuple[str, ...] = ()
    compiles: bool = False
    together: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    cache: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()


BACKENDS = Catalogue(
    "backends",
    "backend",
    Backend,
    (
        Backend(
            name="numpy",
            population="memprof.populations.numpy_agents:NumpyPopulation",
            meet=True,
            check="memprof.upstream.keywords:check_numpy",
            imports=("memprof.populations.numpy_agents",),
        ),
        Backend(
            name="jax",
            population="memprof.populations.jax_agents:JaxPopulation",
            check="memprof.upstream.keywords:check_jax",
            packages=("jax", "jaxlib", "equinox"),
            loops=("jit", "eager", "rollout"),
            compiles=True,
            together=True,
            environment=ONE_ARENA,
            cache={
                "JAX_COMPILATION_CACHE_DIR": "{folder}",
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            },
            imports=("memprof.upstream.jax_agent",),  # without a device
        ),
    ),
    attrgetter("name"),
)
# The one whose agents are objects of a program: `memprof.optimize` takes them.
OF_PROGRAMS = "numpy"
