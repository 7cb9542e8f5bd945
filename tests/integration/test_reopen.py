"""`reopen`: who may open a store, with which class, and what a failed `optimize` leaves."""

import os
import subprocess
import sys
import textwrap

import pytest

import memprof
from memprof.errors import StoreError, UsageError
from memprof.models import model_builder
from memprof.text import format_size
from memprof.upstream import installed, load
from memprof.upstream.numpy_agent import Agent
from tests.conftest import ROOT

ARGUMENTS = model_builder({"kind": "grid_world", "size": 4}, str(ROOT))(0).arguments
PASSES = ["history", "mmap"]


class Forager(Agent):
    """A user's class with attributes of each kind."""

    __slots__ = ("__secret", "seen")
    greed = 2

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.log = []

    def forage(self):
        self.log.append("food")

    @property
    def hunger(self):
        return len(self.log)

    def __len__(self):
        return len(self.log)


@pytest.fixture
def store(tmp_path):
    """Three foragers, of which the second has eaten."""
    folder = tmp_path / "store"
    crowd = (Forager(**ARGUMENTS) for _ in range(3))
    with memprof.optimize(crowd, PASSES, store=folder) as made, made.activate(1) as agent:
        agent.forage()
        agent.seen = "food"
    return folder


def run(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "known"),
    [
        (["mmap"], ("mmap",)),
        (["history", "mmap"], ("history", "mmap")),
        (["share", "pool", "mmap"], ("pool", "mmap")),
    ],
)
def test_a_store_is_opened_with_the_passes_that_it_was_made_with(tmp_path, made, known):
    """And PyMDP's own functions are replaced under no other."""
    memprof.optimize([Agent(**ARGUMENTS)], made, store=tmp_path / "store").close()
    maths = load("maths")
    own = maths.dot_likelihood
    for readonly in (False, True):
        with memprof.reopen(tmp_path / "store", Agent, readonly=readonly) as population:
            assert population.passes == population.memory().passes == known
            assert (maths.dot_likelihood is own) == ("pool" not in known)
    with memprof.reopen(tmp_path / "store", Agent, history_steps=2, working_set=8192) as more:
        assert more.passes == tuple(
            name for name in ("history", "pool", "mmap", "working_set")
            if name in (*known, "history", "working_set")
        )  # fmt: skip


def test_a_population_in_files_says_what_they_take(store):
    with memprof.reopen(store, Forager) as population:
        memory = population.memory()
        taken = sum(file.stat().st_blocks * 512 for file in store.iterdir())
        assert memory.file_bytes == taken > 0
        assert f"in files on disk: {format_size(taken)}" in str(memory)
    with memprof.optimize([Forager(**ARGUMENTS)]) as population:
        assert population.memory().file_bytes == 0
        assert "disk" not in str(population.memory())


@pytest.mark.parametrize("passes", [["mmap"], ["template"]])
def test_a_closed_population_says_so_whatever_it_is_asked(passes):
    population = memprof.optimize([Agent(**ARGUMENTS)], passes)
    population.close()
    for ask in (len, lambda it: it.memory(), lambda it: it.remove(0), lambda it: [*it.in_turn()]):
        with pytest.raises(UsageError, match="the population is closed"):
            ask(population)


# --- classes

SCRIPT = """
import memprof
from memprof.upstream.numpy_agent import Agent
from tests.integration.test_reopen import ARGUMENTS, PASSES

class Forager(Agent):
    def forage(self):
        self.eaten = True

if __name__ == "__main__":
    import sys
    memprof.optimize([Forager(**ARGUMENTS)], PASSES, store=sys.argv[1]).close()
"""


def test_a_scripts_class_is_found_where_it_is_imported_from(tmp_path, monkeypatch):
    (tmp_path / "foraging_script.py").write_text(SCRIPT)
    made = run(SCRIPT, tmp_path / "store")
    assert made.returncode == 0, made.stderr
    monkeypatch.syspath_prepend(tmp_path)
    from foraging_script import Forager as Imported

    with memprof.reopen(tmp_path / "store", Imported) as population:
        with population.activate(0) as agent:
            assert type(agent) is Imported
            agent.forage()
        with population.activate(0) as agent:
            assert agent.eaten


def changed(bases=(Agent,), slots=("_Forager__secret", "seen"), without=(), name="Forager"):
    """A class Forager as one may find it later."""
    left_out = {*without, "__dict__", "__weakref__", "_Forager__secret", "seen"}
    body = {key: value for key, value in vars(Forager).items() if key not in left_out}
    return type(name, bases, {**body, "__slots__": slots, "__module__": "elsewhere"})


class Mixin:
    hunger = 3


@pytest.mark.parametrize(
    "kind",
    [
        changed(),
        changed(slots=("_Forager__secret", "more", "seen")),
        changed(bases=(Mixin, Agent), without=["hunger"]),
        type("Forager", (Forager,), {"more": 1}),
        type("Gatherer", (Forager,), {}),
        changed(name="Gatherer"),
    ],
)
def test_a_class_that_has_all_that_was_there_will_do(store, kind):
    with memprof.reopen(store, kind) as population:
        assert len(population) == 3
        with population.activate(1) as agent:
            assert type(agent) is kind
            assert (agent.log, agent.seen) == (["food"], "food")


@pytest.mark.parametrize(
    ("kind", "lacks"),
    [
        (Agent, "which lacks the slots _Forager__secret, seen, the attributes __init__, "),
        (changed(name="Gatherer", without=["greed"]), "found elsewhere:Gatherer, which lacks"),
        (changed(slots=("seen",)), "lacks the slots _Forager__secret;"),
        (changed(without=["forage", "greed"]), "lacks the attributes forage, greed;"),
        (changed(without=["hunger"]), "lacks the attributes hunger;"),
        (changed(without=["__len__"]), "lacks the attributes __len__;"),
    ],
)
def test_what_a_class_lacks_is_named(store, kind, lacks):
    with pytest.raises(StoreError, match=lacks) as caught:
        memprof.reopen(store, kind)
    assert "holds agents of class test_reopen:Forager, found" in str(caught.value)
    memprof.reopen(store, Forager).close()  # the refusal has not left it open


def test_pymdps_own_class_need_not_be_given(tmp_path):
    memprof.optimize([Agent(**ARGUMENTS)], PASSES, store=tmp_path / "store").close()
    for readonly in (False, True):
        with memprof.reopen(tmp_path / "store", readonly=readonly) as population:
            with population.activate(0) as agent:
                assert type(agent) is Agent
            assert population.act([3]).shape == (1, 1)


class Namesake(Agent):
    """A class that adds nothing, called as PyMDP's is."""


Namesake.__name__ = Namesake.__qualname__ = "Agent"


@pytest.mark.parametrize(("kind", "place"), [(Forager, ":Forager"), (Namesake, ":Agent")])
def test_a_users_class_has_to_be_given(tmp_path, kind, place):
    """It is not imported by the name that is in the store."""
    memprof.optimize([kind(**ARGUMENTS)], PASSES, store=tmp_path / "store").close()
    remedy = rf"{place}; give it, or .* memprof\.reopen\(folder, {place[1:]}\)"
    with pytest.raises(UsageError, match=rf"agent_class: .*{remedy}"):
        memprof.reopen(tmp_path / "store")
    memprof.reopen(tmp_path / "store", kind).close()  # the refusal has not left it open


@pytest.mark.parametrize("kind", [object, Forager(**ARGUMENTS), "Forager"])
def test_the_class_is_one_of_agents(store, kind):
    with pytest.raises(UsageError, match="agent_class: expected the class of the agents"):
        memprof.reopen(store, kind)


def test_a_store_is_of_the_pymdp_that_wrote_it(store, monkeypatch):
    """Its source decides: releases with the same one open each other's."""
    monkeypatch.setattr(installed, "version", lambda: "9.9.9")
    with memprof.reopen(store, Forager, readonly=True) as population:
        assert len(population) == 3
    here = installed.digest()
    monkeypatch.setattr(installed, "digest", lambda: "0" * len(here))
    refusal = r"holds agents of PyMDP [\d.]+, found 9\.9\.9, whose .* open it with PyMDP [\d.]+, or"
    for readonly in (False, True):
        with pytest.raises(StoreError, match=refusal):
            memprof.reopen(store, Forager, readonly=readonly)


# --- reading only


def contents(store):
    """Of all files but the one in which readers register."""
    return {path.name: path.read_bytes() for path in store.iterdir() if path.name != "lock.mdb"}


def test_agents_are_as_they_are_stored_at_every_use(store):
    before = contents(store)
    with memprof.reopen(store, Forager, readonly=True) as population:
        for _ in range(2):
            with population.activate(1) as agent:
                assert (agent.log, agent.seen, agent.hunger) == (["food"], "food", 1)
                agent.forage()
                agent.infer_states([3])
                agent.note = lambda: None  # which no store could hold
        with pytest.raises(AttributeError, match="log"):
            agent.log  # noqa: B018
        with pytest.raises(ZeroDivisionError), population.activate(0):
            raise ZeroDivisionError
        assert list(population.in_turn()) == [0, 1, 2]
        assert population.memory().agents == 3
    assert contents(store) == before


def test_what_would_change_the_store_is_refused_with_the_remedy(store):
    with memprof.reopen(store, Forager, readonly=True) as population:
        newcomer = Forager(**ARGUMENTS)
        for attempt in (
            lambda: population.add(newcomer),
            lambda: population.remove(0),
            population.flush,
        ):
            with pytest.raises(
                UsageError, match=r"open with readonly=True; to change the store, reopen it without"
            ):
                attempt()
        assert newcomer.log == [], "it was not taken over"
        assert len(population) == 3
    for option in ({"working_set": "1 MiB"}, {"history_steps": 3}):
        with pytest.raises(UsageError, match=r"takes effect only when agents are stored"):
            memprof.reopen(store, Forager, readonly=True, **option)


READER = """
import sys, memprof
from tests.integration.test_reopen import Forager
from memprof.errors import StoreError
try:
    memprof.reopen(sys.argv[1], Forager)
except StoreError as error:
    print(error)
with memprof.reopen(sys.argv[1], Forager, readonly=True) as population:
    for _ in range(3):
        print(len(population), flush=True)
        with population.activate(1) as agent:
            print(agent.hunger, flush=True)
        sys.stdin.readline()
"""


def test_others_read_while_one_writes(store):
    """And the remedy of the writer's refusal is one that works."""
    with memprof.reopen(store, Forager) as population:
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", READER, store],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(2)
        ]  # fmt: skip
        for reader in readers:
            refused = reader.stdout.readline()
            assert f"process {os.getpid()} has it open for writing" in refused
            assert "or open it with readonly=True" in refused
        for length, hunger in ((3, 1), (4, 2), (5, 3)):
            for reader in readers:
                assert reader.stdout.readline() == f"{length}\n"
                assert reader.stdout.readline() == f"{hunger}\n"
            with population.activate(1) as agent:
                agent.forage()
            population.add(Forager(**ARGUMENTS))
            for reader in readers:
                reader.stdin.write("\n")
                reader.stdin.flush()
        for reader in readers:
            reader.communicate(timeout=300)
            assert reader.returncode == 0


def test_a_store_is_open_once_in_a_process_and_says_what_to_do(store):
    with (
        memprof.reopen(store, Forager, readonly=True),
        pytest.raises(StoreError, match=r"already open in this process.*close it here first"),
    ):
        memprof.reopen(store, Forager, readonly=True)


# --- what a failed `optimize` leaves


def failing(error, after=2):
    for _ in range(after):
        yield Forager(**ARGUMENTS)
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("mine"), SystemExit(1)])
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("exists", [False, True])
def test_a_population_that_fails_leaves_the_folder_as_it_was(tmp_path, error, after, exists):
    store = tmp_path / "store"
    if exists:
        store.mkdir(mode=0o700)
    for passes in (PASSES, [*PASSES, "working_set"]):
        with pytest.raises(type(error)):
            memprof.optimize(failing(error, after), passes, store=store)
        assert [*tmp_path.iterdir()] == [store] * exists
        if exists:
            assert not [*store.iterdir()]
            assert store.stat().st_mode & 0o777 == 0o700
    memprof.optimize([Forager(**ARGUMENTS)], PASSES, store=store).close()
    assert len(memprof.reopen(store, Forager)) == 1


def test_an_agent_that_is_refused_leaves_an_empty_folder_empty(tmp_path):
    agent = Forager(**ARGUMENTS)
    agent.hook = lambda: None
    for agents in ([agent], [Forager(**ARGUMENTS), object()]):
        with pytest.raises(UsageError):
            memprof.optimize(agents, PASSES, store=tmp_path)
        assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "name", ["full", "full/file", "full/file/store", "x" * 300, "nul\0", "link", "pipe"]
)
def test_a_place_that_cannot_be_is_refused_before_an_agent_is_built(tmp_path, name):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    built = []
    agents = (built.append(number) for number in range(3))
    with pytest.raises(
        StoreError, match=r"it needs a new or empty folder, on a writable disk with free space$"
    ):
        memprof.optimize(agents, PASSES, store=str(tmp_path / name))
    assert not built
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(StoreError, match=r"create the store first|give (the|another) folder"):
        memprof.reopen(str(tmp_path / name), Agent)


def test_a_forked_child_that_fails_leaves_its_parents_store(tmp_path):
    code = """
    import os, sys, memprof
    from tests.integration.test_reopen import ARGUMENTS, PASSES, Forager
    def agents():
        yield Forager(**ARGUMENTS)
        if os.fork() == 0:
            raise RuntimeError("the child's")
        os.wait()
        yield Forager(**ARGUMENTS)
    try:
        memprof.optimize(agents(), PASSES, store=sys.argv[1]).close()
    except RuntimeError:
        os._exit(0)
    """
    made = run(code, tmp_path / "store")
    assert made.returncode == 0, made.stderr
    assert len(memprof.reopen(tmp_path / "store", Forager)) == 2
