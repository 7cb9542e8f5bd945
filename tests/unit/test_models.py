import hashlib
import subprocess
import sys

import numpy as np
import pytest

from memprof.errors import ScenarioError
from memprof.models import check_model, model_builder, object_array
from memprof.models.factory import builder
from memprof.populations import environment
from memprof.populations.environment import Environments, GenerativeProcess
from tests.conftest import ROOT


def build(tmp_path, **model):
    return model_builder(model, str(tmp_path))(0)


BUILT_IN = [
    {"kind": "grid_world", "size": 4},
    {"kind": "grid_world", "size": 4, "inductive": True},
    {"kind": "t_maze", "reward_probability": 0.9},
    {
        "kind": "random_pomdp",
        "num_obs": [3, 4],
        "num_states": [2, 5],
        "num_controls": [1, 3],
        "seed": 1,
    },
    {"kind": "random_pomdp", "num_obs": 3, "num_states": 4, "num_controls": 2, "seed": 0},
]


@pytest.mark.parametrize("model", BUILT_IN, ids=lambda m: m["kind"])
def test_built_in_models_are_sound_and_every_call_builds_new_equal_arrays(tmp_path, model):
    builder = model_builder(model, str(tmp_path))
    one, two = builder(0).arguments, builder(1).arguments
    check_model(one, "model")
    for name in "ABCD":
        for a, b in zip(one[name], two[name], strict=True):
            assert np.array_equal(a, b)
            assert not np.shares_memory(a, b)


def test_grid_world_moves_as_pymdps_own(tmp_path):
    from pymdp.legacy.envs import GridWorldEnv

    ours = build(tmp_path, kind="grid_world", size=4).arguments["B"][0]
    theirs = GridWorldEnv(shape=[4, 4])
    for state in range(16):
        for action in range(5):
            assert ours[theirs.P[state][action], state, action] == 1


def test_an_inductive_grid_world_has_its_preferred_cell_as_goal(tmp_path):
    from pymdp.legacy.agent import Agent

    model = build(tmp_path, kind="grid_world", size=3, inductive=True)
    assert np.array_equal(model.arguments["H"][0], np.eye(9)[8])
    backwards = Agent(**model.arguments).I[0]
    assert backwards[0].sum() == 1, "the goal"
    assert backwards[1].sum() == 3, "its neighbours too"
    assert backwards[4].all(), "the far corner, four steps away"


MAZE = {"kind": "maze", "size": 6, "walls": 0.3, "seed": 7}


@pytest.fixture
def maze(tmp_path):
    return model_builder(MAZE, str(tmp_path))


def test_a_maze_is_sound_and_its_walls_are_never_entered(maze):
    model = maze(0)
    check_model(model.arguments, "model")
    transitions, start = model.arguments["B"][0], model.arguments["D"][0]
    free = start > 0
    assert free.sum() == 36 - round(0.3 * 36)
    assert np.array_equal(start[free], np.full(free.sum(), 1 / free.sum()))
    assert model.arguments["C"][0][free][-1] == 1, "the last free cell is preferred"
    assert set(np.unique(transitions)) == {0, 1}
    assert (transitions.sum(axis=0) == 1).all()
    assert np.array_equal(transitions[:, :, 4], np.eye(36)), "stay"
    for wall in np.flatnonzero(~free):
        assert not transitions[wall][free].any(), "no way from a free cell into a wall"


def test_a_maze_without_walls_is_the_grid_world(tmp_path):
    open_maze = build(tmp_path, **{**MAZE, "walls": 0.0}).arguments
    grid = build(tmp_path, kind="grid_world", size=6).arguments
    for name in "ABCD":
        assert np.array_equal(open_maze[name][0], grid[name][0])


def test_the_world_of_a_maze_moves_as_its_b_says(maze):
    model = maze(0)
    world, transitions = model.environment, model.arguments["B"][0]
    np.random.seed(0)
    cell = world.reset()
    assert model.arguments["D"][0][cell] > 0
    for action in np.random.randint(5, size=200):
        reached = world.step(np.array([float(action)]))
        assert transitions[reached, cell, action] == 1
        cell = reached


DENSE = {
    "kind": "random_pomdp",
    "num_obs": [3, 4],
    "num_states": [2, 5],
    "num_controls": [1, 3],
    "seed": 1,
    "concentration": 0.1,
    "per_agent": True,
}


def test_dense_agents_differ_but_live_in_one_world(tmp_path):
    builder = model_builder(DENSE, str(tmp_path))
    one, two = builder(0), builder(1)
    for name in "ABCD":
        for a, b in zip(one.arguments[name], two.arguments[name], strict=True):
            assert (a != b).any()
    check_model(one.arguments, "model")
    assert all((a > 0).all() for a in one.arguments["A"])
    common = build(tmp_path, **{**DENSE, "per_agent": False}).arguments
    assert one.world is two.world
    assert GenerativeProcess(one.world) == GenerativeProcess(common)


def digest(arguments):
    return hashlib.sha256(b"".join(a.tobytes() for n in "ABCD" for a in arguments[n])).hexdigest()


@pytest.mark.parametrize("model", [MAZE, DENSE], ids=lambda m: m["kind"])
def test_agents_with_models_of_their_own_are_the_same_in_every_process(tmp_path, model):
    builder = model_builder(model, str(tmp_path))
    here = [digest(builder(agent).arguments) for agent in (2, 0, 1)]
    assert len(set(here)) == 3
    there = subprocess.run(
        [
            sys.executable,
            "-c",
            "from tests.unit.test_models import digest, model_builder\n"
            f"builder = model_builder({model!r}, '')\n"
            "for agent in (2, 0, 1): print(digest(builder(agent).arguments))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here


def wrong(**changes):
    arguments = {"A": object_array([np.eye(3)]), "B": object_array([np.eye(3)[:, :, None]])}
    return {**arguments, **changes}


def test_a_plain_array_is_the_model_of_one_modality_and_one_factor():
    check_model(wrong(A=np.eye(3), B=np.stack([np.eye(3)] * 2, 2), D=np.full(3, 1 / 3)), "model")
    with pytest.raises(ScenarioError, match="A0 is not normalised"):
        check_model(wrong(A=np.eye(3) * 0.5), "model")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"A": object_array([np.eye(3)])}, "the model has no B; found ['A']"),
        (wrong(A=[np.eye(3)]), "A must be an object array"),
        (wrong(A=object_array(["x"])), "A must be an object array"),
        (wrong(A=object_array([np.eye(3) * 0.5])), "A0 is not normalised"),
        (wrong(A=object_array([np.eye(3) * np.nan])), "A0 is not normalised"),
        (wrong(A=object_array([np.array([[2.0, 0, 0], [-1, 1, 1]])])), "smallest entry -1"),
        (
            wrong(A=object_array([np.eye(4)])),
            "A0 has shape (4, 4) and does not fit B: expected (3,)",
        ),
        (wrong(B=object_array([np.eye(3)])), "B0 has shape (3, 3); expected (3, 3) and then"),
        (wrong(B=object_array([np.ones((3, 3, 2))])), "B0[:, 0, 0] sums to 3"),
        (wrong(A=object_array([np.empty((0, 3))])), "it is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_makes_no_sense_is_named(arguments, words):
    with pytest.raises(ScenarioError) as caught:
        check_model(arguments, "model.path")
    assert words in caught.value.problem
    assert caught.value.field == "model.path"


def archive(tmp_path, **arrays):
    np.savez(tmp_path / "model.npz", **arrays)
    return build(tmp_path, kind="npz", path="model.npz").arguments


def test_npz_arrays_are_taken_by_name_and_number(tmp_path):
    found = archive(
        tmp_path, A1=np.eye(2), A0=np.eye(3), B0=np.eye(3)[:, :, None], D0=np.ones(3) / 3
    )
    assert [a.shape for a in found["A"]] == [(3, 3), (2, 2)]
    assert set(found) == {"A", "B", "D"}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"A0": np.eye(2), "A2": np.eye(2)}, "A1 is missing"),
        ({"A0": np.eye(2), "likelihood": np.eye(2)}, "found 'likelihood'"),
        ({"A0": np.array([{"x": 1}], dtype=object)}, "without unpickling"),
        ({"A0": np.array(["a"])}, "expected numbers"),
    ],
)
def test_an_archive_that_is_no_model_is_refused(tmp_path, arrays, words):
    with pytest.raises(ScenarioError, match=words):
        archive(tmp_path, **arrays)


FACTORIES = """
import numpy as np
def good(size=2, agent=None): return {"A": size, "agent": agent}
def pair(): return {}, "no environment"
def nothing(): return None
class Odd: pass
def odd(): return Odd()
def agent_nowhere():
    from pymdp.legacy.agent import Agent
    return object.__new__(Agent), "no environment"
def raises(): raise RuntimeError("from inside")
def sized(size): return {}
def flat():
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0] = B[0] = np.eye(3)
    from pymdp.legacy.agent import Agent
    return Agent(A=A, B=B)
"""


def factory(tmp_path, name, module="made", **params):
    (tmp_path / "made.py").write_text(FACTORIES)
    (tmp_path / "broken.py").write_text("import does_not_exist\n")
    return model_builder(
        {"kind": "factory", "callable": f"{module}:{name}", "params": params}, str(tmp_path)
    )


@pytest.fixture(autouse=True)
def _forget_made_modules(monkeypatch):
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("made", "broken"):
        sys.modules.pop(name, None)


def test_a_factory_gets_its_params_and_the_agents_index(tmp_path):
    assert factory(tmp_path, "good", size=7)(3).arguments == {"A": 7, "agent": 3}


@pytest.mark.parametrize(
    ("name", "module", "params", "words", "traceback"),
    [
        ("good", "absent", {}, "cannot import absent", "ModuleNotFoundError"),
        ("good", "broken", {}, "cannot import broken", "import does_not_exist"),
        ("goood", "made", {}, "did you mean 'good'?", ""),
        ("good", "made", {"sice": 1}, "unexpected keyword argument 'sice'", ""),
        (
            "raises",
            "made",
            {},
            "failed for agent 0: RuntimeError: from inside",
            'raise RuntimeError("from',
        ),
        (
            "sized",
            "made",
            {},
            "missing a required argument: 'size'; made:sized(size), found []",
            "",
        ),
        (
            "flat",
            "made",
            {},
            "failed for agent 0: B0 has shape (3, 3); expected (3, 3) and then",
            "B_f",
        ),
        ("nothing", "made", {}, "returned NoneType; expected a dict", ""),
        ("odd", "made", {}, "returned made.Odd; expected a dict", ""),
        ("agent_nowhere", "made", {}, "the environment that made:agent_nowhere returned, str", ""),
        ("pair", "made", {}, "has no reset()", ""),
    ],
)
def test_a_factory_that_fails_is_shown_with_its_own_traceback(
    tmp_path, name, module, params, words, traceback
):
    with pytest.raises(ScenarioError) as caught:
        factory(tmp_path, name, module, **params)(0)
    assert words in caught.value.problem
    assert traceback in caught.value.detail
    assert "memprof/models" not in caught.value.detail


def test_the_default_environment_follows_a_and_b(tmp_path):
    model = build(tmp_path, kind="grid_world", size=3)
    worlds = Environments(lambda array, first: array)
    worlds.add(None, model.arguments)
    np.random.seed(0)
    (cell,) = worlds.observe(0, None)
    for action, target in ((4, cell), (1, cell if cell % 3 == 2 else cell + 1)):
        assert worlds.observe(0, np.array([float(action)])) == (target,)


def test_the_default_environment_draws_by_the_models_probabilities():
    weights = np.array([0.7, 0.2, 0.1])
    process = GenerativeProcess(
        {"A": [np.tile(weights[:, None], 3)], "B": [np.eye(3)[:, :, None]], "D": [weights]}
    )
    np.random.seed(0)
    states = np.bincount([process.first() for _ in range(4000)]) / 4000
    seen = np.bincount([process.observe(1)[0] for _ in range(4000)]) / 4000
    assert states == pytest.approx(weights, abs=0.03)
    assert seen == pytest.approx(weights, abs=0.03)


def random_world(generator, kind, **given):
    """Two modalities and two factors, of which each depends on both; arrays of a kind of number."""
    A = [generator.random((outcomes, 3, 4)) for outcomes in (2, 5)]
    B = [generator.random((3, 3, 4, 2)), generator.random((4, 4, 3))]
    model = {"A": A, "B": B, "D": [generator.random(3), generator.random(4)], **given}
    return {
        **{name: [(9 * each).astype(kind) for each in arrays] for name, arrays in model.items()},
        "A_factor_list": [[0, 1], [0, 1]],
        "B_factor_list": [[0, 1], [1]],
    }


@pytest.mark.parametrize("kind", [float, np.float32, np.float16, int])
@pytest.mark.parametrize("given", [{}, {"A": [-np.eye(3)[:, :, None].repeat(4, 2)] * 2}])
def test_agents_that_live_at_once_draw_what_they_draw_one_by_one(kind, given, monkeypatch):
    monkeypatch.setattr(environment, "_MOST_NUMBERS", 50)  # several parts
    generator = np.random.default_rng(0)
    model = random_world(generator, kind, **given)
    together, alone = (Environments(lambda array, first: array) for _ in range(2))
    agents = range(300)
    for environments in (together, alone):
        for _ in agents:
            environments.add(None, model)
    for step in range(4):
        seeds = [1000 * step + agent for agent in agents]
        actions = None if step == 0 else generator.integers(0, (2, 1), (300, 2)).astype(float)
        seen = together.observe_all(agents, actions, seeds)
        for row, agent in enumerate(agents):
            np.random.seed(seeds[row])
            action = None if actions is None else actions[row]
            assert alone.observe(agent, action) == tuple(each[row] for each in seen)
    assert together._states == alone._states
    assert len({*together._states}) > 5


@pytest.mark.parametrize("name", ["A_factor_list", "A_dependencies"])
def test_the_order_of_dependencies_is_that_of_either_backend(name):
    outcomes = np.zeros((3, 3, 3))  # outcome, factor 1, factor 0
    outcomes[range(3), range(3)] = 1
    stay = np.eye(3)[:, :, None]
    model = GenerativeProcess(
        {
            "A": [outcomes], "B": [stay, stay], name: [[1, 0]],
            "D": [np.array([1.0, 0, 0]), np.array([0.0, 0, 1])],
        }
    )  # fmt: skip
    assert model.observe(model.first()) == (2,)


def test_equal_worlds_are_told_from_different_ones(tmp_path):
    builder = model_builder({"kind": "t_maze", "reward_probability": 0.9}, str(tmp_path))
    one, two = builder(0).arguments, builder(1).arguments
    assert GenerativeProcess(one) == GenerativeProcess(two)
    two["A"][1][0, 0, 0] += 1e-16 + 1e-9
    assert GenerativeProcess(one) != GenerativeProcess(two)


@pytest.mark.parametrize("target", ["builtins:type", "builtins:dict"])
def test_a_factory_whose_parameters_nobody_can_tell_is_refused(target, tmp_path):
    with pytest.raises(ScenarioError, match=r"parameters of builtins:.* cannot be determined"):
        builder(target, {}, str(tmp_path))
