"""`memprof run` on a program that starts others: agents are seen in the process they live in."""

from tests.cli.test_run import launched, program, report  # noqa: F401  # fixtures
from tests.conftest import COMMAND

PROGRAM = """
    import multiprocessing, os, sys
    from concurrent.futures import ProcessPoolExecutor

    def work(agents, size=30, error=None):
        living = [small(size) for _ in range(agents)]
        for agent in living:
            step(agent, 1)
        if error:
            raise error
        return agents

    def ended(child):
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

    if __name__ == "__main__":
        own = [small(9) for _ in range(2)]
        fork, spawn = map(multiprocessing.get_context, ("fork", "spawn"))
        for number, context in enumerate((fork, spawn)):
            process = context.Process(target=work, args=(3 + number,), name=f"worker {number}")
            process.start()
            process.join()
            print(process.exitcode, flush=True)
        process = fork.Process(target=work, args=(2, 9, ValueError("no food")), name="worker 2")
        process.start()
        process.join()
        with fork.Pool(1) as pool:
            print(pool.map(work, [5]), flush=True)
        with ProcessPoolExecutor(1, mp_context=fork) as executor:
            print(*executor.map(work, [6]), flush=True)
        child = os.fork()
        if child == 0:
            step(own[0], 1)
            agents = [small() for _ in range(7)]
            grandchild = os.fork()
            if grandchild == 0:
                agents += [small(60) for _ in range(8)]
                sys.exit(4)
            ended(grandchild)
            sys.exit(3)
        ended(child)
        child = os.fork()
        if child == 0:
            os._exit(5)
        ended(child)
    """


def test_agents_of_processes_are_seen_there_and_nothing_is_disturbed(program, report, tmp_path):  # noqa: F811
    found = program(PROGRAM, own=["--full", "--budget", "per_agent=50KB"])
    plain = launched([COMMAND[0], "simulation.py"], tmp_path)
    assert found.stdout.startswith(plain.stdout)
    assert plain.stdout == "0\n0\n[5]\n6\n4\n3\n5\n"
    *errors, last = found.stderr.splitlines()
    assert errors == plain.stderr.splitlines(), "with no frame of ours"
    assert found.returncode == 1
    assert "in fork: an agent costs" in last, "of the grandchild's larger ones"
    processes = {
        (each["name"], *(kind["built"] for kind in each["kinds"])): each
        for each in report()["processes"]
    }
    pool, executor = [name for name in processes if "ForkP" in name[0]]
    assert [*processes] == [
        *(("worker 0", 3), ("worker 1", 4), ("worker 2", 2)),
        *(pool, executor),
        *(("fork", 7), ("fork", 8)),
    ]
    assert (pool[1], executor[1]) == (5, 6)
    child, grandchild = processes["fork", 7], processes["fork", 8]
    assert (child["inherited"], grandchild["inherited"]) == (1, 0)
    assert all(each["finished"] for name, each in processes.items() if name != pool)
    assert [kind["agents"] for kind in report()["kinds"]] == [2]
    told = " ".join(found.stdout.split())
    assert "In 7 processes that it started: 35 agents of Agent" in told
    assert not [each for each in report()["warnings"] if each["kind"] == "child_processes"]


def test_agents_of_a_process_that_ends_at_once_are_not_said_to_be_none(program, report):  # noqa: F811
    found = program("""
    import multiprocessing, os

    def work(agents):
        living = [small() for _ in range(agents)]
        os._exit(0)

    if __name__ == "__main__":
        process = multiprocessing.get_context("fork").Process(target=work, args=(3,))
        process.start()
        process.join()
    """)
    assert (found.returncode, found.stderr) == (0, "")
    assert "In 1 process that it started" in found.stdout
    assert [each["kind"] for each in report()["warnings"]] == ["kinds_not_looked_at"]
