"""Every shipped scenario behaves the same with all that `auto` may choose; `make equivalence` has
every pass alone, over more agents and steps."""

import pytest

from memprof.catalogue.passes import PASSES
from tests.equivalence import PATHS, live, plans

SIZES = {
    "deep-policy": (1, 1), "mmp": (3, 5), "learning-29": (2, 3), "grid-29": (2, 3),
    "private-mazes": (3, 3),
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_all_of_auto_and_the_passes_in_files_behave_exactly(path, tmp_path):
    agents, steps = SIZES.get(path.stem, (4, 6))
    together = tuple(name for name in plans()["all of auto"] if not PASSES[name].early)
    plain = live(path, (), agents, steps, tmp_path / "trace")
    for passes in (together, ("history", "mmap")):
        found = live(path, passes, agents, steps, tmp_path / "trace")
        assert found["digests"] == plain["digests"], passes
        assert found["error"] == 0
