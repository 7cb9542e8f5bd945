"""What these tests do with PyMDP takes less time than a user's program.

It is imported as lean in their own process as in their workers. And most of the time of a test of
JAX agents is compiling: XLA leaves out what only makes programs fast. Where it matters what users'
compiler does, tests have it (`users_compiler`), and so have `make worlds`, `make random-jax`,
`make equivalence`, `make predict` and `make figures`.
"""

import os

import pytest

from tests.lean import sitecustomize

sitecustomize.install()

_SOON_COMPILED = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
)
os.environ.setdefault("XLA_FLAGS", " ".join(_SOON_COMPILED))


@pytest.fixture
def users_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and workers compile programs as a user's do."""
    monkeypatch.delenv("XLA_FLAGS")
