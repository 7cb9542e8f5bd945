"""A part of a whole population of JAX agents, put together from parts that were saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memprof.api.jax_optimise import read_options
from memprof.api.jax_population import OptimizedJaxPopulation
from memprof.populations.jax_resting import Resting
from memprof.populations.jax_store import load
from memprof.storage.numbering import Numbering
from memprof.text import shown
from memprof.values.population import Share


def refilled_jax(
    stores: Sequence[tuple[Path, Share]],
    share: Share,
    passes: str | Sequence[str],
    options: Mapping[str, Any],
    agent_class: type | None,
) -> OptimizedJaxPopulation:
    """As `memprof.api.refill.refilled`."""
    chunk = read_options(passes, options).get("chunk")
    resting, owns, end = None, [], 0
    for folder, theirs in stores:
        found, numbering = load(folder, agent_class, in_place=True)
        resting = resting or Resting(found.agent, chunk)
        if numbering.given:
            end = max(end, theirs.index(numbering.given - 1) + 1)
        here = [i for i in numbering.indices().tolist() if theirs.index(i) in share]
        if here:
            found.rows = found.rows.in_memory(numbering.rows(here))
            resting.join(found, shown(str(folder)))
            owns += [share.own(theirs.index(i)) for i in here]
    assert resting is not None, "there is a store"
    resting.rows = resting.rows.in_memory(np.argsort(owns).astype(np.int64))
    resting.even_out()
    given = len(range(share.first, end, share.every))
    return OptimizedJaxPopulation(resting, Numbering.of(given, sorted(owns)))
