"""`memprof run`: programs run as they would without it, and what lived in them is reported."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import COMMAND, run_command

SMALL = """
    import numpy as np
    from pymdp.legacy.agent import Agent
    from pymdp.legacy.utils import obj_array

    def arrays(*each):
        found = obj_array(len(each))
        found[:] = each
        return found

    def small(size=30):
        moves = np.stack([np.eye(size), np.roll(np.eye(size), 1, 0)], 2)
        return Agent(A=arrays(np.eye(size)), B=arrays(moves))

    def step(agent, seen):
        agent.infer_states([seen])
        agent.infer_policies()
        return agent.sample_action()
"""


def launched(command, folder):
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


def watched(folder, *arguments):
    """`memprof run`: it starts the program as ever, and itself from a process that has imported
    it."""
    run = run_command(folder, "run", *arguments)
    return subprocess.CompletedProcess(arguments, run.code, run.out, run.err)


@pytest.fixture
def program(tmp_path):
    """Writes a program after the agents above, unless it is to have none; and runs it."""

    def run(text, *arguments, own=(), agents=True, name="simulation.py"):
        lines = (SMALL if agents else "") + text
        indent = len(lines.strip("\n")) - len(lines.strip("\n").lstrip())
        source = "\n".join(line[indent:] for line in lines.strip("\n").split("\n"))
        (tmp_path / name).write_text(source + "\n")
        return watched(tmp_path, *own, name, *arguments)

    return run


@pytest.fixture
def report(tmp_path):
    return lambda name="simulation": json.loads(
        (tmp_path / "reports" / f"{name}-run.json").read_text()
    )


def test_agents_of_a_function_are_found_before_they_go(program, report):
    """At the end of the program none of them lives."""
    found = program("""
    import sys

    def main():
        agents = [small() for _ in range(int(sys.argv[1]))]
        print([step(agent, 3)[0] for agent in agents][:0], sys.argv[1:], __name__)

    main()
    """, "30", "--seed", "3", "--json", "x")  # fmt: skip
    assert found.returncode == 0
    assert found.stdout.startswith("[] ['30', '--seed', '3', '--json', 'x'] __main__\n")
    (kind,) = report()["kinds"]
    assert (kind["agents"], kind["built"], kind["backend"]) == (30, 30, "numpy")
    assert kind["built_at"]["path"] == "simulation.py"
    assert kind["built_at"]["text"] == "return Agent(A=arrays(np.eye(size)), B=arrays(moves))"
    matrices = 30 * 30 * 8 * 3
    rows = {row["component"]: row for row in kind["ledger"]["rows"]}
    held = rows["A"]["private_resident_bytes"] + rows["B"]["private_resident_bytes"]
    agents = kind["ledger"]["agents"]
    assert agents in (29, 30), "the one that goes first is gone already"
    assert agents * matrices < held < 1.05 * agents * matrices
    assert matrices < kind["per_agent"]["bytes"] < 1.5 * matrices
    assert kind["equal_bytes"] > matrices
    saving = kind["saving"]
    assert (saving["agents"], saving["exact"], saving["refused"]) == (10, True, "")
    assert 20 < saving["bytes_per_agent"] < 400
    uses = {each["operation"]: each["calls"] for each in report()["watched"]["operations"]}
    assert uses == {"infer_states": 30, "infer_policies": 30, "sample_action": 30}
    assert "memprof.optimize(agents)" in found.stdout


def test_kinds_are_told_apart_by_class_and_line(program, report):
    found = program("""
    class Forager(Agent):
        def __init__(self, **given):
            super().__init__(**given)
            self.diary = np.ones(50_000)

    common = arrays(np.eye(40))
    few = [small() for _ in range(3)]
    many = [small(10) for _ in range(7)]
    more = [
        Forager(A=common, B=arrays(np.ones((40, 40, 2)) / 40)) for _ in range(5)
    ]
    """)  # fmt: skip
    assert found.returncode == 0, found.stderr
    kinds = {kind["name"]: kind for kind in report()["kinds"]}
    assert {name.partition(" ")[0]: kind["agents"] for name, kind in kinds.items()} == {
        "Agent": 10,
        "Forager": 5,
    }, "those of a function are built by its line"
    forager = next(kind for name, kind in kinds.items() if name.startswith("Forager"))
    assert forager["built_at"]["text"].startswith("Forager(A=common")
    rows = {row["component"]: row for row in forager["ledger"]["rows"]}
    diary, prior = rows["Forager.diary"], rows["A"]
    assert diary["private_resident_bytes"] == pytest.approx(5 * 400_000, rel=0.02)
    assert prior["shared_resident_bytes"] >= 40 * 40 * 8 > prior["private_resident_bytes"]


@pytest.mark.parametrize(
    ("text", "code", "last"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no such food')", 1, "no such food"),
        ("def f(): 1 / 0\nf()", 1, "ZeroDivisionError: division by zero"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
        ("if", 1, "SyntaxError: invalid syntax"),
        ("import os; os._exit(5)", 5, ""),
        ("import os; os.kill(os.getpid(), 15)", 143, ""),
    ],
)
def test_a_program_ends_as_it_does_without_memprof(program, tmp_path, text, code, last):
    found = program(text, agents=False, own=["--quiet"])
    plain = launched([sys.executable, "simulation.py"], tmp_path)
    assert found.returncode == code
    assert found.stderr == plain.stderr, "with no frame of memprof's"
    assert found.stdout == plain.stdout == ""
    assert last in found.stderr


def test_what_agents_raise_looks_as_without_memprof(program, tmp_path):
    raising = [
        "small().infer_states([99])",
        "Agent(A=3, B=4)",
        "JaxAgent(1, 2)",
        "rollout(None, None, 3, None)",
        "small().infer_states()",
    ]
    first = "\n".join(f"    tried(lambda: {text})" for text in raising[:-1])
    found = program(
        f"""
    import traceback
    from pymdp.agent import Agent as JaxAgent
    from pymdp.envs.rollout import rollout

    def tried(raises):
        try:
            raises()
        except Exception:
            traceback.print_exc()

{first}
    {raising[-1]}
    """,
        own=["--quiet"],
    )
    plain = launched([sys.executable, "simulation.py"], tmp_path)
    assert found.returncode == plain.returncode == 1
    assert all(text in found.stderr for text in raising)
    assert found.stderr == plain.stderr, "with no frame of memprof's"


def test_modules_folders_and_exit_functions_run_as_ever(program, tmp_path, report):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import atexit, sys, threading, time, pickle\n"
        "class Thing: pass\n"
        "atexit.register(print, 'at exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "print(sys.argv[1:], __spec__ and __spec__.name, sys.path[0] != '')\n"
        "print(type(pickle.loads(pickle.dumps(Thing()))) is Thing)\n"
    )
    for way in (["-m", "package"], ["package"]):
        plain = launched([sys.executable, *way, "--help", "-m"], tmp_path)
        found = watched(tmp_path, "--quiet", "--out", way[0], *way, "--help", "-m")
        assert (found.returncode, found.stdout) == (0, plain.stdout), found.stderr
        assert found.stdout.endswith("at exit\n")
    assert "No agents" in (tmp_path / "-m" / "package-run.md").read_text()


def test_a_program_without_agents_is_said_to_be_one(program):
    found = program("print('nothing')", agents=False)
    assert found.returncode == 0
    assert "No agents of PyMDP in this program." in found.stdout
    assert "no_agents" in found.stdout


def test_a_fork_and_a_pool_of_the_program_are_their_own(program, report):
    found = program("""
    import multiprocessing, os, warnings

    if __name__ == "__main__":
        warnings.simplefilter("error")
        agents = [small() for _ in range(4)]
        child = os.fork()
        if child == 0:
            agents += [small() for _ in range(9)]
            raise SystemExit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.map(len, [[1, 2]]))
    """)  # fmt: skip
    assert (found.returncode, found.stdout[:8]) == (0, "3\n[2]\n\ns"), found.stderr
    (kind,) = report()["kinds"]
    assert (kind["agents"], kind["built"]) == (4, 4)
    (child,) = report()["processes"]
    assert [kind["built"] for kind in child["kinds"]] == [9]


def test_a_budget_is_for_every_kind(program, report):
    text = "agents = [small() for _ in range(20)]"
    assert program(text, own=["--budget", "per_agent=30KB"]).returncode == 0
    found = program(text, own=["--budget", "per_agent=20 KB"])
    assert found.returncode == 1
    assert "above the budget of 20.0 KB" in found.stderr
    assert not report()["budget"][0]["kept"]
    wrong = program(text, own=["--budget", "20KB"])
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "expected per_agent=SIZE" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected a script"),
        (["nothing.py"], "nothing.py: there is no such file"),
        (["."], "is a folder without __main__.py"),
        (["-m", "no_such_module"], "there is no module 'no_such_module'"),
        (["--json", "-", "x.py"], "give --json a file"),
    ],
)
def test_what_is_no_program_is_refused_before_anything_runs(tmp_path, arguments, words):
    found = watched(tmp_path, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert words in found.stderr
    assert list(tmp_path.iterdir()) == []


LIVING = """
    import memprof
    agents = [small() for _ in range(6)]
    memprof.mark("six")
    while True:
        for agent in agents:
            step(agent, 2)
        print("lives", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_program_what_was_seen_is_reported(program, report, tmp_path, number):
    program("", name="unused.py")
    lines = [line[4:] for line in (SMALL + LIVING).strip("\n").split("\n")]
    (tmp_path / "simulation.py").write_text("\n".join(lines))
    process = subprocess.Popen(
        [*COMMAND, "run", "--quiet", "simulation.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()  # somebody has looked
    target = process.pid
    if number == signal.SIGKILL:  # of the program, not of memprof
        (target,) = _children(process.pid)
    os.kill(target, number)
    process.stdout.read()
    code = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: 137}[number]
    assert process.wait() == code
    found = report()
    ended = "killed" if number == signal.SIGKILL else "interrupted"
    assert (found["ended"], found["complete"]) == (ended, False)
    assert [kind["agents"] for kind in found["kinds"]] == [6]


def _children(process):
    return [int(each) for each in open(f"/proc/{process}/task/{process}/children").read().split()]


def test_a_program_marks_moments_and_watches_itself(program, report, tmp_path):
    text = """
    import memprof
    agents = [small() for _ in range(3)]
    with memprof.watch() as watch:
        agents += [small() for _ in range(2)]
        print(watch.ledger())
    memprof.mark("five")
    agents.pop()
    memprof.mark("four")
    """
    found = program(text)
    looks = {look["name"]: look for look in report()["watched"]["looks"]}
    counts = {name: sum(k["agents"] for k in look["kinds"]) for name, look in looks.items()}
    assert counts.items() >= {"now": 5, "five": 5, "four": 4, "end": 4}.items()
    assert found.stdout.startswith("now: 5 agents, ")
    alone = launched([sys.executable, "simulation.py"], tmp_path)
    assert alone.stdout.startswith("now: 5 agents, "), "with those from before"
    assert (alone.returncode, alone.stderr) == (0, "")


def test_a_program_that_keeps_what_it_saw_grows_and_one_that_does_not_is_clean(program, report):
    text = """
    agents, diary = [small() for _ in range(3)], []
    for seen in range(120):
        for agent in agents:
            step(agent, seen % 30)
            agent.prev_actions = None  # PyMDP's own history
            diary.append(np.ones({size}))
    """
    own = ["--fail-on-leak"]
    found = program(text.format(size=2000), own=own)
    growth = report()["watched"]["growth"]
    assert found.returncode == 1, growth
    assert "the process grows by" in found.stderr
    assert (growth["verdict"], growth["agents"]) == ("leak", 3)
    assert growth["last_step"] > 60, "but for those amid a look"
    assert growth["bytes_per_step"] == pytest.approx(3 * 16_000, rel=0.1)
    assert report()["watched"]["sites"] is None, "nobody asked"
    own.append("--sites")
    found = program(text.format(size=0).replace("diary.append", "len"), own=own)
    assert found.returncode == 0, report()["watched"]["growth"]
    sites = report()["watched"]["sites"]
    assert (sites["lines"], sites["failed"]) == ([], ""), "PyMDP's history was let go of"
    assert "No line keeps more and more" in found.stdout


def test_the_line_that_keeps_memory_is_named_where_that_is_asked_for(program, report):
    text = """
    import collections, tracemalloc

    agents, kept = [small(140) for _ in range(2)], []
    last = collections.deque(maxlen=2)
    for seen in range(40):
        for agent in agents:
            step(agent, seen % 10)
            agent.prev_actions = None
            kept.append(agent.qs.copy())
            last.append(np.ones(500))
    print(tracemalloc.is_tracing())
    """
    found = program(text, own=["--sites", "--fail-on-leak"])
    assert found.returncode == 1, "whatever is certain of growth"
    assert "simulation.py:" in found.stderr
    assert "per step of all agents" in found.stderr
    sites = report()["watched"]["sites"]
    first, *others = sites["lines"]
    assert first["text"] == "kept.append(agent.qs.copy())"
    assert (first["added_to"], first["blocks_per_step"]) == ("kept", pytest.approx(4, abs=0.5))
    assert 2 * 100 < first["bytes_per_step"] < 2 * 200, "the array, its header and one entry"
    assert {line["caller"]["text"] for line in others} == {"agent.infer_states([seen])"}
    assert (sites["last_step"], sites["untraced_steps"]) == (3 + 32, 0)
    assert [each["kind"] for each in report()["warnings"]][:1] == ["traced"]
    assert "Sites" in found.stdout


def test_looking_leaves_agents_as_they_are(program):
    found = program("""
    import memprof
    agents = [small() for _ in range(4)]
    for agent in agents:
        step(agent, 1)

    def state():
        return [
            (name, id(value), getattr(value, "flags", None) and value.flags.writeable)
            for agent in agents
            for name, value in vars(agent).items()
        ] + [array.flags.writeable for agent in agents for array in (*agent.A, *agent.B)]

    with memprof.watch() as watch:
        before = state()
        more = [small() for _ in range(3)]
        watch.ledger()
        assert state() == before
        assert watch.watched().looks[0].kinds[0].saving.exact
    agents[0].A[0][0, 0] = 0.5
    population = memprof.optimize(agents)
    print(len(population))
    """)
    assert (found.returncode, found.stdout[:2]) == (0, "4\n"), found.stderr


def test_processes_that_the_program_starts_are_said_to_be_in_no_figure(program, report):
    found = program("""
    import subprocess, sys, time
    agents = [small() for _ in range(3)]
    hold = "import time; held = bytearray(b'1' * 40_000_000); time.sleep(3)"
    child = subprocess.Popen([sys.executable, "-c", hold])
    child.wait()
    """)
    assert found.returncode == 0
    (warning,) = [each for each in report()["warnings"] if each["kind"] == "child_processes"]
    assert "the program started 1 process" in warning["evidence"]
    assert report()["watched"]["children"]["started"]["own_bytes"] > 40e6


@pytest.mark.parametrize(
    ("text", "code", "complete"),
    [
        ("import os; os._exit(0)", "cut_short", False),
        (
            "import os, sys; os.execv(sys.executable, [sys.executable, '-c', ''])",
            "cut_short",
            False,
        ),
        ("agents[0].odd = Odd()", "look_failed", True),
    ],
)
def test_agents_that_nobody_could_look_at_are_not_said_to_be_none(
    program, report, text, code, complete
):
    found = program(f"""
    class Odd:
        __class__ = property(lambda self: 1 / 0)

    agents = [small() for _ in range(3)]
    {text}
    """)
    assert (found.returncode, found.stderr) == (0, "")
    assert "Nothing is known of agents in this program" in found.stdout
    assert {each["kind"] for each in report()["warnings"]} == {code, "not_looked_at"}
    assert report()["complete"] is complete


def test_a_program_sees_nothing_of_who_watches(program, monkeypatch):
    """Neither a thread, nor an open file, nor a collection, nor a signal that goes astray."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # else its threads may take the signal
    found = program("""
    import gc, os, signal, sys, threading, time, warnings
    import memprof

    warnings.simplefilter("error")
    files, collections = [], []
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    agents = [small() for _ in range(5)]
    gc.disable()
    gc.callbacks.append(lambda *_: collections.append(1))
    for _ in range(2):
        files.append(os.listdir("/proc/self/fd"))
        memprof.mark("five")
    print(threading.enumerate() == [threading.main_thread()], files[0] == files[1], collections)
    os.kill(os.getpid(), signal.SIGUSR1)
    print(signal.sigwait({signal.SIGUSR1}) == signal.SIGUSR1)
    """, agents=True)  # fmt: skip
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("True True []\nTrue\n")


def test_a_watch_that_ends_leaves_what_the_program_has_put_into_pymdp(program, tmp_path):
    program("""
    import memprof

    original = Agent.infer_states
    with memprof.watch() as watch:
        Agent.sample_action = mine = lambda agent: [0]
        Agent.__init__ = built = lambda agent: None
    print(Agent.sample_action is mine, Agent.__init__ is built, Agent.infer_states is original)
    """)
    plain = launched([sys.executable, "simulation.py"], tmp_path)
    assert plain.stdout == "True True True\n", plain.stderr


@pytest.mark.parametrize("keep", ["", "del agents, many"])
def test_agents_that_no_constructor_made_count_and_one_built_anew_is_one(program, report, keep):
    """Copies, those from a pickle, and those whose constructor is called again."""
    found = program(f"""
    import copy, pickle

    class Forager(Agent):
        def __init__(self):
            moves = np.stack([np.eye(40), np.roll(np.eye(40), 1, 0)], 2)
            super().__init__(A=arrays(np.eye(40)), B=arrays(moves))

    first = small()
    many = [copy.deepcopy(first) for _ in range(6)]
    many += pickle.loads(pickle.dumps([first] * 2 + many[:3]))[2:]
    agents = [Forager() for _ in range(5)]
    for agent in agents:
        agent.__init__()
    for agent in (*many, *agents):
        step(agent, 1)
    {keep}
    """)
    assert (found.returncode, found.stderr) == (0, "")
    kinds = {kind["name"].split()[0]: kind for kind in report()["kinds"]}
    counts = {name: (kind["agents"], kind["built"]) for name, kind in kinds.items()}
    assert counts == {"Agent": (10, 1), "Forager": (5, 5)}
    for kind in kinds.values():
        assert kind["per_agent"]["bytes"] > 24_000


def test_classes_of_one_name_and_those_with_a_batch_of_their_own_are_counted_right(
    program, report, tmp_path
):
    for number in (1, 2):
        text = "from pymdp.legacy.agent import Agent\nclass Forager(Agent):\n    batch_size = 32\n"
        (tmp_path / f"team_{number}.py").write_text(text)
    found = program("""
    import team_1, team_2

    def made_anew(size):
        class Walker(Agent): pass
        return Walker(A=arrays(np.eye(size)), B=arrays(np.stack([np.eye(size)] * 2, 2)))

    model = {"A": arrays(np.eye(30)), "B": arrays(np.stack([np.eye(30)] * 2, 2))}
    teams = [team_1.Forager] * 3 + [team_2.Forager] * 5
    agents = [Forager(**model) for Forager in teams]
    agents += [made_anew(size) for size in (20, 30, 40)]
    """)
    assert (found.returncode, found.stderr) == (0, "")
    kinds = {kind["name"].partition(" (")[0]: kind for kind in report()["kinds"]}
    counts = {name: (kind["agents"], kind["built"]) for name, kind in kinds.items()}
    assert counts == {
        "Forager": (3, 3),
        "team_2.Forager": (5, 5),
        "made_anew.<locals>.Walker": (3, 3),
    }


def test_constructors_are_told_by_their_code_and_what_is_local_to_them_stays_as_it_is(
    program, report
):
    """To read a frame's variables holds them, and adds to what `locals()` has returned."""
    found = program("""
    from functools import wraps

    def checked(build):
        @wraps(build)
        def wrapper(self, *values):
            return build(self, *values)
        return wrapper

    class Forager(Agent):
        @checked
        def __init__(self, size, young=0):
            given, array = locals(), np.zeros(3)
            super().__init__(A=arrays(np.eye(size)), B=arrays(np.stack([np.eye(size)] * 2, 2)))
            self.young = [Forager(size) for _ in range(young)]
            array.resize(5)
            print(sorted(given))

    forager = Forager(20, 2)
    """)
    assert (found.returncode, found.stderr) == (0, "")
    lines = found.stdout.split("\n")
    assert lines[:3] == ["['__class__', 'self', 'size', 'young']"] * 3
    texts = {kind["built_at"]["text"]: kind["built"] for kind in report()["kinds"]}
    assert texts == {
        "forager = Forager(20, 2)": 1,
        "self.young = [Forager(size) for _ in range(young)]": 2,
    }


def test_a_mark_amid_another_in_the_same_thread_is_none_and_nobody_waits(program, report):
    """As a signal's, which comes at any moment."""
    found = program("""
    import memprof

    class Shy(Agent):
        asked = 0

        @property
        def __dict__(self):
            Shy.asked += 1
            memprof.mark("inner")
            return object.__getattribute__(self, "hidden")

    agents = [small() for _ in range(3)]
    agents[0].hidden = dict(agents[0].__dict__)
    agents[0].__class__ = Shy
    memprof.mark("outer")
    print(Shy.asked > 0)
    """, own=["--timeout", "100"])  # fmt: skip
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("True\n")
    assert "outer" in {look["name"] for look in report()["watched"]["looks"]}


def test_agents_that_come_and_go_are_all_counted(program, report):
    found = program("""
    for _ in range(100):
        step(small(3), 1)
    """)
    assert (found.returncode, found.stderr) == (0, "")
    (kind,) = report()["kinds"]
    assert kind["built"] == 100
    assert kind["per_agent"]["bytes"] > 1000


def test_agents_of_different_sizes_have_no_cost_that_is_nobodys(program, report):
    found = program(
        "agents = [small(20 if place % 2 else 90) for place in range(40)]",
        own=["--budget", "per_agent=150KB"],
    )
    (kind,) = report()["kinds"]
    least, most = kind["ledger"]["agent_bytes_range"]
    assert 20 * 20 * 8 * 3 < least < 25_000
    assert 90 * 90 * 8 * 3 < most < 230_000
    assert kind["per_agent"]["how"] == "ledger"
    assert kind["per_agent"]["bytes"] < 150_000 < most
    assert found.returncode == 1, "the budget is for the largest"
    assert [each["kind"] for each in report()["warnings"]] == ["sizes_differ"]


def test_what_else_is_built_with_agents_and_what_they_share_is_said(program, report):
    program("""
    common = arrays(np.eye(100)), arrays(np.stack([np.eye(100)] * 2, 2))
    agents, diary = [], []
    for _ in range(60):
        agents.append(Agent(A=common[0], B=common[1]))
        diary.append(np.ones(50_000))
    """)
    (kind,) = report()["kinds"]
    assert kind["per_agent"]["how"] == "slope"
    assert kind["per_agent"]["bytes"] > 400_000
    assert kind["equal_bytes"] < 20_000, "what they share already is no copy"
    assert [each["kind"] for each in report()["warnings"]] == ["grows_beyond_agents"]


def test_what_a_call_allocates_at_once_is_read_in_few_calls_and_leaves_tracing_alone(
    program, report
):
    found = program("""
    import threading, tracemalloc

    agents = [small(120) for _ in range(2)]
    release = threading.Event()
    threading.Thread(target=release.wait, daemon=True).start()
    for agent in agents:
        agent.infer_states([0])
        for _ in range(9):
            agent.infer_policies()
    release.set()
    while threading.active_count() > 1:
        pass
    for seen in range(60):
        for agent in agents:
            agent.infer_states([seen])
    for agent in agents:
        try:
            agent.infer_states(["nothing"])
        except (TypeError, IndexError, ValueError):
            print("raised", tracemalloc.is_tracing())
    tracemalloc.start(7)
    peaks = []
    for seen in range(9):
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        agents[0].infer_states([seen])
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    print(max(peaks), tracemalloc.is_tracing(), tracemalloc.get_traceback_limit())
    """)
    assert (found.returncode, found.stderr) == (0, "")
    raised, again, own = found.stdout.split("\n")[:3]
    assert raised == again == "raised False"
    size, *tracing = own.split()
    assert tracing == ["True", "7"], "it was the program's own"
    uses = {each["operation"]: each for each in report()["watched"]["operations"]}
    states = uses["infer_states"]
    assert 1 <= states["peaks"] <= 7 < states["calls"], "ever more seldom, as time allows"
    assert states["peak_bytes"] == pytest.approx(int(size), rel=0.25)
    assert states["peak_bytes"] > 120 * 120 * 8, "PyMDP makes a copy of one action's B"
    assert uses["infer_policies"]["peak_bytes"] is None, "there was a further thread"
