"""`%%memprof` in a shell of IPython's, as notebooks have one."""

import subprocess
import sys

import pytest

SESSION = """
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

shell = InteractiveShell.instance(colors="nocolor")
shell.run_line_magic("load_ext", "memprof")
shell.run_cell('''{before}''')
with capture_output() as found:
    shell.run_cell('''%%memprof
{cell}''')
print(found.stdout)
shown = found.outputs[-1].data
print(shown["text/plain"])
print(shown["text/html"][:8], "echarts" in shown["text/html"], "https://cdn" in shown["text/html"])
"""
SMALL = """
import numpy as np
from pymdp.legacy.agent import Agent
from pymdp.legacy.utils import obj_array

def small():
    A, B = obj_array(1), obj_array(1)
    A[0], B[0] = np.eye(30), np.stack([np.eye(30)] * 2, 2)
    return Agent(A=A, B=B)
"""


@pytest.fixture
def notebook(tmp_path):
    def run(cell, before=SMALL):
        text = SESSION.format(before=before, cell=cell)
        command = [sys.executable, "-P", "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert list(tmp_path.iterdir()) == []
        return done.stdout

    return run


def test_the_report_of_a_cell_appears_under_it(notebook):
    found = notebook("agents = [small() for _ in range(12)]\nprint(len(agents))")
    assert found.startswith("12\n")
    assert "%%memprof: this cell\n12 agents of Agent" in found
    assert "population = memprof.optimize(agents)" in found
    assert "<iframe  True False"[:8] in found


def test_a_cell_that_fails_shows_its_error_and_what_was_seen(notebook):
    found = notebook("agents = [small() for _ in range(3)]\nagents[7]")
    assert "IndexError: list index out of range" in found
    assert "this cell, which failed\n3 agents of Agent" in found


def test_agents_from_before_the_cell_count(notebook):
    found = notebook("agents[0].infer_states([1])", f"{SMALL}agents = [small() for _ in range(5)]")
    assert "this cell\n5 agents of Agent" in found


def test_a_cell_without_agents_is_said_to_be_one(notebook):
    assert "No agents of PyMDP in this cell." in notebook("print(1)", "")
