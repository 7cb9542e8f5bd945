"""Random agents under random plans live as plain agents do, bit for bit."""

from hypothesis import HealthCheck, assume, given, settings

from tests.property_agents import IMPOSSIBLE, REFUSED, difference, lives, plans


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,  # `make fuzz` draws many more
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(lives(), plans())
def test_random_agents_live_as_plain_ones(life, plan):
    found = difference(life, plan)
    assume(found != IMPOSSIBLE)
    assert found in (None, REFUSED), found
