"""`memprof run` on notebooks: their cells run as in Jupyter, and what lived in them is reported."""

import json
import os
import signal
import subprocess

import pytest

from tests.cli.test_run import SMALL, watched
from tests.conftest import COMMAND, run_command

DEFINE = "\n".join(line[4:] for line in SMALL.strip("\n").split("\n"))


def written(folder, *cells, language="python", name="study.ipynb"):
    """A notebook of cells: each a text, or a type with a text, or a text with tags."""
    made = []
    for cell in cells:
        kind, source, tags = "code", cell, []
        if isinstance(cell, tuple):
            kind, source = cell if cell[0] in ("raw", "markdown") else ("code", cell[0])
            tags = [*cell[1:]] if kind == "code" else []
        one = {"cell_type": kind, "metadata": {"tags": tags}, "source": source}
        if kind == "code":
            one |= {"execution_count": 41, "outputs": []}
        made.append(one)
    about = {"kernelspec": {"name": "gone", "display_name": "?", "language": language}}
    text = json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": about, "cells": made})
    (folder / name).write_text(text)
    return folder / name


def report(folder, name="study"):
    return json.loads((folder / "reports" / f"{name}-run.json").read_text())


def test_cells_run_as_in_jupyter_and_those_before_one_that_fails_are_reported(tmp_path):
    """Run from another folder, with a kernel's name that this machine does not know."""
    (tmp_path / "home").mkdir()
    file = written(
        tmp_path / "home",
        ("markdown", "# A study"),
        DEFINE,
        ("raw", "not code"),
        "",
        "agents = [small() for _ in range(6)]\nfirst = small(20)\nfirst.infer_states([1]);",
        "del first\nlen(agents)",
        "%%bash\necho from bash\necho wrong >&2",
        "import asyncio\nawait asyncio.sleep(0)\n'späť'",
        ("1 / 0", "raises-exception"),
        ("print('never')", "skip-execution"),
        "import os, sys\nprint(os.getcwd()[-4:], sys.argv[1], __name__, *os.listdir())",
        "%matplotlib inline\nfrom IPython.display import display\ndisplay({'a': 1})",
        "import memprof\nmemprof.mark('now')\ndef fails():\n    return agents[9]\nfails()",
        "print('never')",
    )
    before = file.read_bytes()
    done = watched(tmp_path, "--quiet", "home/study.ipynb")
    assert done.returncode == 1, done.stderr
    assert done.stdout == "6\nfrom bash\n'späť'\nhome -f __main__ study.ipynb\n{'a': 1}\n"
    assert done.stderr.startswith("wrong\n")
    assert "ZeroDivisionError" in done.stderr
    assert "Cell In[9], line 4, in fails()\n" in done.stderr
    assert done.stderr.endswith(
        "IndexError: list index out of range\nhome/study.ipynb: cell 9 failed; none after it ran\n"
    )
    assert file.read_bytes() == before
    found = report(tmp_path)
    kinds = {kind["name"]: (kind["agents"], kind["built"]) for kind in found["kinds"]}
    assert kinds == {"Agent (cell 1:12)": (7, 7)}
    assert found["kinds"][0]["built_at"]["text"].startswith("return Agent(A=arrays(np.eye(size))")
    looks = [(look["name"], look["kinds"][0]["agents"]) for look in found["watched"]["looks"]]
    assert ("now", 6) in looks
    assert ("end", 6) in looks, "while the notebook's variables are there"
    assert found["watched"]["finished"]
    (warning,) = [each for each in found["warnings"] if each["kind"] == "cell_failed"]
    assert "cell 9 failed with IndexError: list index out of range" in warning["evidence"]


def test_every_kind_is_named_also_one_whose_only_agent_went_early(tmp_path):
    same = "agent = Agent(A=arrays(np.eye(9)), B=arrays(np.eye(9)[..., None]))\nstep(agent, 1)"
    written(tmp_path, DEFINE, same, same, "agents = [small(50) for _ in range(5)]", "del agent")
    done = watched(tmp_path, "--budget", "per_agent=30KB", "study.ipynb")
    assert done.returncode == 1
    assert "cell 1:12): an agent costs" in done.stderr
    kinds = {kind["name"]: kind["agents"] for kind in report(tmp_path)["kinds"]}
    assert kinds == {"Agent (cell 1:12)": 5, "Agent (cell 2:1)": 1, "Agent (cell 3:1)": 1}


@pytest.mark.parametrize(
    ("ends", "code", "ended"),
    [("os.kill(os.getpid(), 9)", 137, "killed"), ("os._exit(5)", 5, "exit")],
)
def test_a_kernel_that_goes_is_said_to_have_gone(tmp_path, ends, code, ended):
    written(tmp_path, "import os\nprint('still here')", ends, "print('never')")
    done = watched(tmp_path, "--quiet", "study.ipynb")
    assert (done.returncode, done.stdout) == (code, "still here\n")
    assert done.stderr == "study.ipynb: cell 2 failed; none after it ran\n"
    found = report(tmp_path)
    assert (found["ended"], found["complete"]) == (ended, False)
    assert "its kernel ended with" in found["warnings"][0]["evidence"]


def test_ctrl_c_interrupts_the_cell_and_what_was_seen_is_reported(tmp_path):
    written(
        tmp_path,
        f"{DEFINE}\nagents = [small() for _ in range(6)]",
        "import os\nprint(os.getpid(), flush=True)\nwhile True: agents[0].infer_states([2])",
        "print('never')",
    )
    process = subprocess.Popen(
        [*COMMAND, "run", "--quiet", "study.ipynb"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    kernel = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == b""
    assert process.wait() == 130
    assert not os.path.exists(f"/proc/{kernel}")
    assert [kind["agents"] for kind in report(tmp_path)["kinds"]] == [6]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("print(1)", "is no notebook that can be read: NotJSONError"),
        ("[1]", "is no notebook that can be read"),
        ('{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [{}]}', "no notebook"),
    ],
)
def test_a_damaged_notebook_is_refused_in_a_line(tmp_path, text, words):
    (tmp_path / "study.ipynb").write_text(text)
    run = run_command(tmp_path, "run", "study.ipynb")
    assert (run.code, run.out, len(run.err.splitlines())) == (2, "", 1)
    assert words in run.err


def test_what_memprof_cannot_run_of_notebooks_is_refused(tmp_path):
    written(tmp_path, "x <- 1", language="R")
    assert (
        "is of R; memprof runs notebooks of Python"
        in run_command(tmp_path, "run", "study.ipynb").err
    )
    written(tmp_path, ("markdown", "words"), " ")
    assert "has no cell with code" in run_command(tmp_path, "run", "study.ipynb").err
    run = run_command(tmp_path, "run", "study.ipynb", "--seed", "3")
    assert "a notebook takes no arguments, found '--seed 3'" in run.err
    absent = "import sys; sys.modules['nbclient'] = None; sys.argv[0] = 'memprof'\n"
    (tmp_path / "start.py").write_text(absent + "from memprof.cli.app import main; main()")
    command = [COMMAND[0], "-P", "start.py", "run", "study.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a notebook needs nbclient: pip install 'memprof-pymdp[notebook]'" in done.stderr
