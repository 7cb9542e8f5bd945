"""Figures are those of workers that import all that users' do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import whole_path


@pytest.fixture(scope="package", autouse=True)
def _whole_imports() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", whole_path())
        yield
