"""Figures are those of workers that import all that users' do.

File by file: a fixture of the folder, which is no package, would last to the end of the session,
and make the workers of all later tests import as much.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import whole_path


@pytest.fixture(scope="module", autouse=True)
def _whole_imports() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", whole_path())
        yield
