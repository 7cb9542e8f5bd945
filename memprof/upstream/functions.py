"""PyMDP's functions: which ones the kernels of `pool` were written for, known by their source; and
what PyMDP computes of an agent's attributes from others.

A kernel stands for a function of PyMDP and for all of PyMDP that this function calls. Each of them
has to be in the table below: another release's that differs, or a user's in its place, is not.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import tokenize
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from memprof.upstream import is_pymdps
from memprof.upstream.attributes import PRIORS
from memprof.upstream.installed import PACKAGE, package_of

# Digests as `read` makes them: of PyMDP 1.0.0 to 1.0.4, which agree in all of these, and of
# 0.0.7.1, whose outer products have no dimensions of size 1. A function of another release comes in
# when the kernels that rest on it have been read again, and tested.
KNOWN: Mapping[str, frozenset[str]] = {
    f"{package}.{name}": frozenset(digests)
    for package, functions in {
        f"{PACKAGE}.legacy": {
            "maths.dot_likelihood": ["f3548fa593f182c4e25cce38b6083919"],
            "maths.softmax": ["e181b60094281cfa729bfc4076611371"],
            "maths.softmax_obj_arr": ["a1728e8e6e8ff43a1cd7913bb0197cdf"],
            "maths.spm_MDP_G": ["ecece088878341ecd7b0749d7b84e00f"],
            "maths.spm_cross": ["7eac089daaee32eeb85c45778d01a415"],
            "maths.spm_dot": ["8c3eb4bc13c3e4aff01e77a60851f998"],
            "maths.spm_log_single": ["018b08b12f88df2b9a38dcf6d2e4e0c8"],
            "control.calc_expected_utility": ["cc1275050c44aed72ab7677c25792b77"],
            "control.calc_inductive_cost": ["fc57b824f3e553009032835846f14707"],
            "control.calc_pA_info_gain_factorized": ["12c9c18934821d957fd005136cbfadcc"],
            "control.calc_pB_info_gain_interactions": ["61a11b9e4742d557a81568e6f74b5c5d"],
            "control.calc_states_info_gain_factorized": ["097ea8bcc4e9d0d6d564c1aff289240c"],
            "control.get_expected_obs_factorized": ["7f0b63813c8ad765d0ba20a789e89e69"],
            "control.get_expected_states_interactions": ["bcdcfe9ade285476c8721f502d639c49"],
            "control.update_posterior_policies_factorized": ["eb896bc84d8f04f3e13a712e57a85153"],
            "maths.spm_wnorm": ["5f1bcda2568d7cbda78841a94d8e43d7"],
            "control.sample_action": ["499cf66eed0a66c0392d2efbe3a6b7a1"],
            "control.select_highest": ["d437b28008b3654513ee208cfd208090"],
            "utils.norm_dist": ["f547a92951a21cf4d4c75e988f713512"],
            "utils.norm_dist_obj_arr": ["35cdf3d7a1bb674c0cd95537d2105188"],
            "utils.obj_array_zeros": ["d863f28d66169a3c979a58d03cf0d500"],
            "utils.sample": ["6551ab96d83da8d46ca86e80cab7ed05"],
            "learning.update_obs_likelihood_dirichlet_factorized": [
                "1accacb2cba2faef45a9cef161a19c57"
            ],
            "learning.update_state_likelihood_dirichlet_interactions": [
                "e4847cd69b06257dcdd6343ab1af5292"
            ],
            "utils.is_obj_array": ["276f68066879ec24fbc706b8a95ec559"],
            "utils.obj_array": ["9c54534eca8a6a7c29c61283d6d578ae"],
            "utils.onehot": ["5524db91a475df33ed5935060af26100"],
            "utils.process_observation": ["c485e1a3f8c2824331ab8b8c97a7f916"],
            "utils.to_obj_array": ["a2a0cc396874256dab5e0e30d2269ab6"],
            "agent.Agent.infer_policies": ["c9443bc55e682e46bd2119148d9066ce"],
            "agent.Agent.infer_states": ["29956490bcc5a15b16509a8abf830ac6"],
            "agent.Agent.sample_action": ["9d0bbc093e0b0af8eb3273cc107b0a1d"],
            "agent.Agent.step_time": ["387870797c212df4d08da574f54e0bd9"],
            "algos.fpi.run_vanilla_fpi_factorized": ["80696200b8fa02bdeae296e85e8c4078"],
            "control.sample_policy": ["fc498064bb70de30b69ab3e48b5de1b5"],
            "inference.update_posterior_states_factorized": ["6c7466c8b36209e05529890a4b670f06"],
            "maths.calc_free_energy": ["d10ab34bd7fbdcfc4069eff1d13622c3"],
            "maths.compute_accuracy": ["82c0d094a89002bf92bbf7e9c0d88acd"],
            "maths.spm_log_obj_array": ["bae81b8a2bfda6670d31449fdd112b3f"],
            "utils.obj_array_uniform": ["8f7b3ba0c53763574725b4fb71e83ff3"],
        },
        PACKAGE: {
            "maths.dot_likelihood": ["73d929bed92ba1b9e2c7406142334e42"],
            "maths.softmax": ["a3dcf03926df4d3798e5162719c65dc3"],
            "maths.softmax_obj_arr": ["16e9391ed9b13eb1ece6bd4847a39cf3"],
            "maths.spm_MDP_G": ["f34ab231ec4003e98de83895745d1672"],
            "maths.spm_cross": ["78c3c40d92ea0c27663893f2fbb045a8"],
            "maths.spm_dot": ["b460b1ea471b779a54f6f405fb3dfceb"],
            "maths.spm_log_single": ["ca0f104fa584ae50d6b6c797c6663830"],
            "control.calc_expected_utility": ["ecb94571c9583bc61d111f4565a391b9"],
            "control.calc_pA_info_gain": ["8e5b9e997fd5b7e9d7a9ab7f1f5bf999"],
            "control.calc_pB_info_gain": ["aa35fa36160e63d1cc0c55d3fb682ceb"],
            "control.calc_states_info_gain": ["ef89c826644ff684291c7c943e9c40a5"],
            "control.get_expected_obs": ["bd47bc9f75d6eb89b55c8cbf4fe28168"],
            "control.get_expected_states": ["03c173b0f7193ed79b1b1142045ae3af"],
            "control.update_posterior_policies": ["665a04c174040aa56e2f96cb3f755612"],
            "maths.spm_wnorm": ["f8d94d50142c0b823f1d3a4d90160c3a"],
            "control.sample_action": ["6b17645753140e6561d02ff74d5a0e2c"],
            "utils.norm_dist": ["f24518dd785731d7b2a1e14b02829ceb"],
            "utils.norm_dist_obj_arr": ["9148e17703a1f8de18bfe0f2797d4c62"],
            "utils.obj_array_zeros": ["dd1706c9bc5771c5d4bb74d70f5bc1be"],
            "utils.sample": ["b88f5fc888e5c8c94305ba82f8b037fd"],
            "learning.update_obs_likelihood_dirichlet": ["437ee53d614311e3adb2d02881722c4c"],
            "learning.update_state_likelihood_dirichlet": ["28658468f749cd9b4be1b2681e611654"],
            "utils.is_obj_array": ["276f68066879ec24fbc706b8a95ec559"],
            "utils.obj_array": ["c990f4581062c22bf8d73bd5cc2461d5"],
            "utils.onehot": ["1a28c4d7ee8e39fb138a26ae5737bf19"],
            "utils.process_observation": ["95c7eade76488547bfd18506bbbb656d"],
            "utils.to_obj_array": ["02d483e1a55cbf08bf3f523a10d25da1"],
        },
    }.items()
    for name, digests in functions.items()
}

_WITH_KERNELS = (
    ("maths", "dot_likelihood"),
    ("maths", "spm_dot"),
    ("maths", "spm_MDP_G"),
    ("control", "calc_expected_utility"),
    ("control", "sample_action"),
    ("control", "update_posterior_policies"),
    ("control", "update_posterior_policies_factorized"),
    ("learning", "update_obs_likelihood_dirichlet"),
    ("learning", "update_obs_likelihood_dirichlet_factorized"),
    ("learning", "update_state_likelihood_dirichlet"),
    ("learning", "update_state_likelihood_dirichlet_interactions"),
)


def replaced() -> list[tuple[str, str]]:
    """Modules of the NumPy agent's package and functions in them that have a kernel: those that its
    agents call."""
    package = package_of("numpy")
    return [each for each in _WITH_KERNELS if ".".join((package, *each)) in KNOWN]


class Place(NamedTuple):
    """Where a function finds something by name at run time: in its own module, or in another."""

    home: dict[str, Any]
    name: str
    value: Any

    def stands(self, kernels: Mapping[int, Any]) -> bool:
        """Whether the value is still there, or the kernel that takes its place."""
        found = self.home.get(self.name)
        return found is self.value or found is kernels.get(id(self.value), self.value)

    def __str__(self) -> str:
        return f"{self.home.get('__name__')}.{self.name}"


class Basis:
    """What a kernel rests on: a function of PyMDP, and what it calls there, directly or not; or the
    kernels that take the place of these, by the ids of the functions.

    It holds functions only, which are not the population's: the ledger does not count PyMDP.

    Attributes:
        unknown: what of it has another source than is known, or none that can be read; None if all
            of it is known.
        stands: tells whether everything is still where it was.
        changed: tells the first name that stands for something else now; None if there is none.
    """

    __slots__ = ("changed", "stands", "unknown")

    def __init__(self, function: Any, kernels: Mapping[int, Any]) -> None:
        self.unknown, places = rests_on(function)
        self.stands = _check(places, kernels)
        self.changed: Callable[[], str | None] = lambda: next(
            (str(place) for place in places if not place.stands(kernels)), None
        )


def rests_on(
    function: Any,
    own: Callable[[Any], Any] = lambda value: value,
    without: Collection[str] = (),
) -> tuple[str | None, list[Place]]:
    """What of a function and of all that it calls is not known, the first thing; and where it finds
    what is PyMDP's. `own` is PyMDP's own of what is there; names that are called in no case that
    matters are looked at `without`."""
    unknown: str | None = None
    places: dict[tuple[int, str], Place] = {}
    waiting, seen = [function], set()
    while waiting:
        each = waiting.pop()
        name = name_of(each)
        if name in seen:
            continue
        seen.add(name)
        digest, named = read(each, own)
        if digest not in KNOWN.get(name, ()):
            unknown = unknown or name
            continue
        named = [place for place in named if place.name not in without]
        places |= {(id(p.home), p.name): p for p in named if not _is_foreign(p.value)}
        waiting += [place.value for place in named if isinstance(place.value, FunctionType)]
    return unknown, list(places.values())


def _check(places: list[Place], kernels: Mapping[int, Any]) -> Callable[[], bool]:
    """One expression: it is asked at every call of a kernel, and a loop would take as long as some
    kernels do."""
    names: dict[str, Any] = {}
    terms = ["True"]
    for number, place in enumerate(places):
        names |= {f"home{number}": place.home, f"value{number}": place.value}
        terms.append(f"home{number}[{place.name!r}] is value{number}")
        if (kernel := kernels.get(id(place.value))) is not None:
            names[f"kernel{number}"] = kernel
            terms[-1] = f"({terms[-1]} or home{number}[{place.name!r}] is kernel{number})"
    check: Callable[[], bool] = eval(f"lambda: {' and '.join(terms)}", names)
    return check


def name_of(function: Any) -> str:
    """Where a function says that it was defined."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None)}.{name}"


def read(
    function: Any, own: Callable[[Any], Any] = lambda value: value
) -> tuple[str | None, list[Place]]:
    """The digest of all that decides on what a function computes, but for what other functions do
    that it calls: its source, its defaults, and what the names in it stand for; and those names.

    The source is the syntax tree, without docstring and comments, so that neither a formatter nor
    a release of Python changes the digest. It is None where there is no source, or where that is
    not what runs: a compiled function, a file that was written to since.
    """
    plain = type(function) is FunctionType and not function.__closure__
    source = _source(function.__code__) if plain else None
    if source is None:
        return None, []
    tree, names = source
    places = [
        place._replace(value=own(place.value)) for place in _places(function.__globals__, names)
    ]
    stand_for = sorted(f"{place}: {_identity(place.value)}" for place in places)
    all_of_it = tree, function.__defaults__, function.__kwdefaults__, stand_for
    return hashlib.blake2b(repr(all_of_it).encode(), digest_size=16).hexdigest(), places


@lru_cache(maxsize=64)
def _source(code: CodeType) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """The digest of a function's syntax tree, or of a method's of a class in a module, with the
    names in it, and the attributes that it takes of names; if it can be read and is what runs."""
    first = code.co_firstlineno - 1
    its_class = code.co_qualname.rpartition(".")[0]
    try:
        with tokenize.open(code.co_filename) as file:
            lines = file.readlines()
        # Python compiles calls of what a module imports in a way of its own; and lines count.
        above = [line if line.startswith(("import ", "from ")) else "\n" for line in lines[:first]]
        if its_class:
            above[-1] = f"class {its_class}:\n"
        module = ast.parse("".join(above + inspect.getblock(lines[first:])))
        compiled = compile(module, code.co_filename, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):
        return None
    codes, tree = _codes(compiled), module.body[-1]
    if its_class:
        codes, tree = _codes(codes[0]), tree.body[-1]  # type: ignore[attr-defined]
    if [_bare(each) for each in codes] != [_bare(code)]:
        return None
    names = {(each.id, "") for each in ast.walk(tree) if isinstance(each, ast.Name)}
    names |= {
        (each.value.id, each.attr)
        for each in ast.walk(tree)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name)
    }
    digest = hashlib.blake2b(repr(_canonical(tree)).encode(), digest_size=16)
    return digest.hexdigest(), tuple(sorted(names))


def _codes(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _bare(code: CodeType) -> CodeType:
    """Code without what says where it came from."""
    constants = tuple(_bare(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename="", co_linetable=b"", co_consts=constants)


def _places(home: dict[str, Any], names: tuple[tuple[str, str], ...]) -> Iterator[Place]:
    """What a function names of its module, and of other modules of PyMDP."""
    for name, attribute in names:
        value = home.get(name)
        if not attribute:
            if name in home:
                yield Place(home, name, value)
        elif isinstance(value, ModuleType) and not _is_foreign(value):
            yield Place(vars(value), attribute, vars(value).get(attribute))


def _is_foreign(value: Any) -> bool:
    """Whether it is a module or a class of another package's, which `pool` has to trust."""
    name = getattr(value, "__module__", None) if isinstance(value, type) else None
    name = value.__name__ if isinstance(value, ModuleType) else name
    return name is not None and not is_pymdps(name)


def _identity(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    return name_of(value) if callable(value) else repr(value)


def _canonical(node: Any) -> Any:
    """A syntax tree as plain values, the same in every release of Python."""
    if isinstance(node, list):
        return [_canonical(each) for each in node]
    if not isinstance(node, ast.AST):
        return node
    fields = [(name, _canonical(value)) for name, value in ast.iter_fields(node)]
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
        fields = [(name, value[1:] if name == "body" else value) for name, value in fields]
    return type(node).__name__, [each for each in fields if each[1] not in (None, [])]


_MOST_FACTORS = 1024
"""Or modalities; a prior of more is no longer cheap to compute with."""


def _policy_posterior(state: dict[str, Any]) -> Any:
    """As `control.update_posterior_policies_factorized` ends, and its MMP form with `F`."""
    from memprof.upstream.numpy_agent import maths

    evidence = state.get("F", 0) if state.get("inference_algo") == "MMP" else 0
    shape = state["G"].shape
    for term in (state["G"], state["gamma"], state["E"], evidence):
        if not _is_numeric(term) or np.shape(term) not in (shape, ()):
            raise ValueError("numbers that PyMDP would not add")
    energy = state["G"] * state["gamma"]
    if state.get("inference_algo") == "MMP":
        energy = energy - state["F"]
    return maths.softmax(energy + maths.spm_log_single(state["E"]))


def _expected(prior: str) -> Callable[[dict[str, Any]], Any]:
    """As `Agent.update_A`, `update_B` and `update_D` end: the mean of the Dirichlet posterior."""

    def derive(state: dict[str, Any]) -> Any:
        from memprof.upstream.numpy_agent import utils

        counts = state.get(prior)
        if counts is None:
            return None
        if (
            type(counts) is not np.ndarray
            or counts.dtype.char != "O"
            or counts.ndim != 1
            or len(counts) > _MOST_FACTORS
        ):
            raise ValueError(f"{prior} is no prior of PyMDP's")
        if not all(type(each) is np.ndarray and _is_numeric(each) for each in counts):
            raise ValueError(f"{prior} holds what are no counts")
        return utils.norm_dist_obj_arr(counts)

    return derive


DERIVED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "q_pi": _policy_posterior,
    **{name: _expected(prior) for name, prior in PRIORS.items()},
}
"""Attributes that PyMDP computes from others of the same agent, with its own functions."""


def _is_numeric(value: Any) -> bool:
    """Whether computing with a value makes numbers, and few more than there are."""
    if type(value) is np.ndarray:
        return value.dtype.kind in "biufc"
    return type(value) in (int, float) or isinstance(value, np.number)
