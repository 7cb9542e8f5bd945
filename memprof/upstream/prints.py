"""PyMDP's MMP without what it prints: the beliefs of every iteration, which takes most of a step.

The text goes nowhere in a worker. Nothing else of the function changes, neither its lines.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

from memprof.upstream.installed import package_of

_FUNCTIONS = ("run_mmp", "run_mmp_factorized")


def leave_out_prints() -> None:
    """Let MMP print no more in this process, where PyMDP's NumPy agents are imported."""
    module = sys.modules.get(f"{package_of('numpy')}.algos.mmp")
    if module is None or module.__file__ is None:
        return
    source = ast.parse(Path(module.__file__).read_bytes())
    codes = dict(_codes(compile(_Silent().visit(source), module.__file__, "exec")))
    for name in _FUNCTIONS:
        function = getattr(module, name, None)
        if type(function) is FunctionType and name in codes:
            function.__code__ = codes[name]


def _codes(module: CodeType) -> Iterator[tuple[str, CodeType]]:
    return ((code.co_name, code) for code in module.co_consts if isinstance(code, CodeType))


class _Silent(ast.NodeTransformer):
    """Statements that only print do nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        match node.value:
            case ast.Call(func=ast.Name(id="print")):
                return ast.copy_location(ast.Pass(), node)
        return node
