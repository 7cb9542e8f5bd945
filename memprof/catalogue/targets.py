"""Catalogues name classes as `module:class`, so that listing them imports none of them."""

from __future__ import annotations

import importlib
from typing import Any


def load_target(target: str) -> Any:
    """The class that `target` names; imports its module."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
