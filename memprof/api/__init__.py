"""The public API: a population of the user's own agents, stored compactly and activated for use."""

from memprof.api.memory import PopulationMemory
from memprof.api.optimise import optimize, reopen
from memprof.api.plan import AppliedPass, AppliedPlan
from memprof.api.population import OptimizedPopulation

__all__ = [
    "AppliedPass",
    "AppliedPlan",
    "OptimizedPopulation",
    "PopulationMemory",
    "optimize",
    "reopen",
]
