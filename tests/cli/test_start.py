"""Streams, signals and limits that the command is started with: one message, the right code."""

import os
import resource
import subprocess
import sys

import pytest

from memprof.launch.spawn import Ceiling
from memprof.text import parse_size
from tests.conftest import COMMAND, ROOT

EXAMPLE = next((ROOT / "reports" / "examples").glob("grid-29.json"))
NO_SPACE = "memprof: cannot write to standard output: No space left on device\n"
CLOSED = "memprof: cannot write to standard output: Bad file descriptor\n"


def shell(script, folder, **environment):
    """`script`, in which MEMPROF becomes the command."""
    return subprocess.run(
        ["bash", "-c", script.replace("MEMPROF", " ".join(COMMAND))],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("MEMPROF models >/dev/full", 3, NO_SPACE),
        ("MEMPROF --help >/dev/full", 3, NO_SPACE),
        ("MEMPROF models >&-", 3, CLOSED),
        ("MEMPROF models >&- 2>&-", 3, ""),
        ("MEMPROF models >/dev/full 2>/dev/full", 3, ""),
        ("MEMPROF models 2>&- >/dev/null", 0, ""),
        ("MEMPROF models <&- >/dev/null", 0, ""),
        ("MEMPROF report - <&-", 2, "memprof: -: Bad file descriptor\n"),
        ("MEMPROF report missing.json 2>/dev/full", 2, ""),
        ("set -o pipefail; (MEMPROF schema) | true", 0, ""),
        ("PYTHONINSPECT=1 MEMPROF models >/dev/null", 0, ""),
        ("PYTHONOPTIMIZE=2 PYTHONWARNINGS=error MEMPROF models >/dev/null", 0, ""),
        ("env -u HOME LC_ALL=C MEMPROF models >/dev/null", 0, ""),
    ],
)
def test_streams_and_variables(tmp_path, script, code, message):
    run = shell(script, tmp_path)
    assert (run.returncode, run.stderr) == (code, message)


def test_what_an_encoding_has_not_is_written_as_an_escape(tmp_path):
    run = shell(f"MEMPROF report {EXAMPLE}", tmp_path, PYTHONIOENCODING="ascii")
    assert (run.returncode, run.stderr) == (0, "")
    assert "\\xb5s" in run.stdout
    assert run.stdout.isascii()
    plain = shell(f"MEMPROF report {EXAMPLE}", tmp_path, PYTHONIOENCODING="utf-8")
    assert " µs" in plain.stdout


def test_a_measurement_ends_as_it_came_out_whatever_becomes_of_what_it_says(fake):
    path = fake(budget={"per_agent": "1 KB"})
    run = shell(f"MEMPROF profile {path.name} <&- >&- 2>&-", path.parent)
    assert run.returncode == 1, "the budget is broken, which is more than that nobody reads it"
    assert (path.parent / "reports" / "case.json").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--timeout 1e10", "--timeout: expected a number above 0, up to 31,536,000 (a year)"),
        ("--timeout nan", "--timeout: expected a number above 0"),
        (f"--memory-limit {'9' * 400}", "--memory-limit: expected a size up to 1 EiB, found '999"),
        (f"--memory-limit {'9' * 400}X", "--memory-limit: expected a size such as 64 KB"),
        (f"--memory-limit 9{'0' * 18}KB", "--memory-limit: expected a size up to 1 EiB"),
    ],
)
def test_numbers_that_no_machine_has_are_refused(memprof, fake, options, expected):
    run = memprof("profile", fake(), *options.split())
    assert run.code == 2
    assert run.err.startswith(f"memprof: {expected}")
    assert len(run.err) < 200


def test_the_largest_size():
    assert parse_size(str(2**60)) == 2**60


INTERRUPT = """
import os, signal, sys
module, sent, *arguments = sys.argv[1:]
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), getattr(signal, sent))
from memprof.cli.app import main
sys.meta_path.insert(0, Interrupt())
sys.argv[1:] = arguments
main()
"""


@pytest.mark.parametrize(
    ("module", "sent"),
    [
        ("memprof.export.sinks", "SIGINT"),
        ("typer", "SIGTERM"),
        ("yaml", "SIGINT"),
        ("memprof.cli.output", "SIGHUP"),
        ("memprof.cli.output", "SIGQUIT"),
    ],
)
def test_an_interruption_while_the_command_starts_is_no_traceback(tmp_path, module, sent):
    code = ["-P", "-c", INTERRUPT, module, sent, "profile", "missing.yaml"]
    if module == "memprof.cli.output":
        code[5:] = ["report", str(EXAMPLE)]
    run = subprocess.run(
        [sys.executable, *code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "memprof: interrupted\n")


def test_a_signal_that_whoever_started_it_ignores_stays_ignored(tmp_path):
    code = ["-P", "-c", INTERRUPT, "memprof.cli.output", "SIGHUP", "report", str(EXAMPLE)]
    run = subprocess.run(
        ["nohup", sys.executable, *code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0
    assert "An agent costs" in run.stdout


def test_a_bug_keeps_its_traceback_and_is_no_failed_check(tmp_path):
    code = "from memprof.cli import lists, app; del lists.inspect; app.main()"
    run = subprocess.run(
        [sys.executable, "-P", "-c", code, "models"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 3
    assert run.stderr.startswith("memprof: this is a bug in memprof\n\nTraceback")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (
            "-d 30000",
            "the memory limit of 30.7 MB that memprof was started with (ulimit -d) is too",
        ),
        (
            "-v 100000",
            "the memory limit of 102 MB that memprof was started with (ulimit -v) is too",
        ),
        ("-n 8", "cannot start a worker: Too many open files; raise the limit of open files"),
    ],
)
def test_a_limit_that_is_too_low_for_the_command_itself_is_named(fake, limit, expected):
    path = fake()
    run = shell(f"ulimit {limit}; MEMPROF profile {path.name} --quiet", path.parent)
    assert run.returncode == 3
    assert run.stderr.startswith(f"memprof: {expected}")
    assert run.stderr.count("\n") == 1


def test_no_place_for_temporary_files_is_said(fake, tmp_path):
    code = (
        "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/proc']; "
        "from memprof.cli.app import main; main()"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code, "profile", fake().name, "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 3
    assert run.stderr.startswith("memprof: cannot make a temporary folder: No usable temporary")
    assert run.stderr.endswith("; set TMPDIR to a writable folder\n")


def test_an_inherited_limit_is_the_workers_ceiling_too():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (3 * 10**9, before[1]))
        lowest, inherited = Ceiling.of(2 * 10**9), Ceiling.of(None)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert lowest is not None
    assert (lowest.size_bytes, lowest.option) == (2 * 10**9, "--memory-limit")
    assert inherited is not None
    assert (inherited.size_bytes, inherited.option) == (3 * 10**9, "ulimit -d")
    assert inherited.words == "the memory limit of 3.00 GB that memprof was started with"


COMMANDS = (
    "import typer.main; from memprof.cli.commands import app; "
    "assert len([*typer.main.get_command(app).commands.values()]) > 10"
)


@pytest.mark.parametrize(
    "code", [COMMANDS, "import memprof.leak.view", "import memprof.profile.run"]
)
def test_the_parent_loads_no_heavy_library(code):
    code += (
        "; import sys; "
        "print({'numpy', 'pymdp', 'jax', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_a_command_imports_no_other():
    code = (
        "import sys; from memprof.cli.commands import app; sys.argv = ['memprof', 'models']; "
        "app(standalone_mode=False); "
        "sys.exit(' '.join(name for name in sys.modules if name.startswith('memprof.cli.')))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.split() == ["memprof.cli.commands", "memprof.cli.lists"]
