"""Every kind of world, with and without passes, against PyMDP's own rollout: `make worlds`."""

import pytest

from tests.worlds.lives import behaviour, check_same, population, pymdps_own

WORLDS = (
    "t_maze", "simplified_t_maze", "grid", "cue_chain", "graph", "own", "with_params",
    "params_of_ones_own", "params_of_a_batch_of_one", "one_hot", "searching", "goes_on",
    "all_of_it", "sophisticated",
)  # fmt: skip


@pytest.mark.parametrize("name", WORLDS)
def test_a_rollout_in_a_world_of_the_users_is_pymdps_own(name):
    info = pymdps_own(name)
    for passes in ((), ("share",), ("template",)):
        check_same(behaviour(population(name, passes)), info, 1e-6 if passes else 0)
