"""Stores with a full disk, or cut off: nothing that was committed is lost unseen."""

import os
import subprocess
import sys
import textwrap

import pytest

MIB = 2**20
AGENTS = textwrap.dedent(
    """
    import resource, sys
    import sitecustomize
    sitecustomize.install()
    import numpy as np
    from memprof import optimize, reopen
    from memprof.errors import StoreError
    from pymdp.legacy import utils
    from pymdp.legacy.agent import Agent

    def agent(number):
        np.random.seed(number)
        A, B = utils.random_A_matrix([300], [300]), utils.random_B_matrix([300], [2])
        made = Agent(A=A, B=B)
        made.number = number
        return made

    def agents():
        number = 0
        while True:
            yield agent(number)
            number += 1
    """
)
FILL = AGENTS + textwrap.dedent(
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    population = optimize([agent(0)], ["mmap"], store=sys.argv[1])
    try:
        for number in range(1, 1000):
            population.add(agent(number))
            with population.activate(number) as active:
                active.infer_states([0])
            print(number, flush=True)
    except StoreError as error:
        print(error)
        population.close()
    """
)
READ = AGENTS + textwrap.dedent(
    """
    try:
        with reopen(sys.argv[1], Agent) as population:
            for index in range(len(population)):
                with population.activate(index) as active:
                    assert active.number == index
                    assert np.array_equal(active.B[0], agent(index).B[0])
            print(len(population))
    except StoreError as error:
        print(error)
        sys.exit(3)
    """
)


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def store(tmp_path):
    """Agents of 1.4 MB, as many as fit where a file may have no more than 90 MiB."""
    folder = tmp_path / "agents"
    run = python(FILL, folder, 90 * MIB)
    assert run.returncode == 0, run.stderr
    *numbers, error = run.stdout.splitlines()
    assert "make room on the disk" in error
    return folder, int(numbers[-1])


def test_a_full_disk_loses_nothing_that_was_committed(store):
    folder, last = store
    assert last > 20
    read = python(READ, folder)
    assert read.returncode == 0, read.stdout + read.stderr
    assert int(read.stdout) in (last + 1, last + 2), "the one that failed may be there unstepped"
    os.truncate(folder / "data.mdb", 30 * MIB)
    cut = python(READ, folder)
    assert cut.returncode == 3, cut.stdout + cut.stderr
    assert "damaged" in cut.stdout
    assert "Traceback" not in cut.stderr
