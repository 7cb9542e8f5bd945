"""Times are those of workers that import all that users' do, on a machine that has nothing else to
do: `make times`. None of these files has a name that pytest would find by itself."""

from tests.accuracy.conftest import _whole_imports  # noqa: F401
