"""Limits of the process's own control group and of its parents, on trees as kernels show them."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from memprof.launch import limits
from memprof.launch.limits import control_groups
from memprof.posix import PAGE_BYTES

MB = 10**6
UNLIMITED_V1 = 9223372036854771712


class Machine:
    """Files of a made-up machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")

    def write(self, path: str, text: object) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n" if not str(text).endswith("\n") else str(text))

    def mount(self, kind: str, at: str, options: str, root: str = "/") -> None:
        with (self.root / "proc/self/mountinfo").open("a") as file:
            file.write(f"35 31 0:32 {root} {at} rw,relatime - {kind} {kind} {options}\n")

    def v1(self, group: str, limit: int, used: int, stat: str = "", hierarchy: int = 1) -> None:
        folder = f"/sys/fs/cgroup/memory{group}"
        self.write(f"{folder}/memory.limit_in_bytes", limit)
        self.write(f"{folder}/memory.usage_in_bytes", used)
        self.write(f"{folder}/memory.use_hierarchy", hierarchy)
        self.write(f"{folder}/memory.stat", stat or "cache 0\ninactive_file 7\n")

    def v2(self, group: str, used: int, stat: str = "", **limits: object) -> None:
        folder = f"/sys/fs/cgroup{group}"
        self.write(f"{folder}/memory.current", used)
        self.write(f"{folder}/memory.stat", stat or "anon 5\n")
        for name, limit in limits.items():
            self.write(f"{folder}/memory.{name}", limit)

    def found(self) -> list[tuple[int, int]]:
        return [(each.limit_bytes, each.used_bytes) for each in control_groups(self.root)]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def first(machine):
    """A machine of version 1, as Slurm and older Docker use it."""
    machine.mount("cgroup", "/sys/fs/cgroup/cpu", "rw,cpu,cpuacct")
    machine.mount("cgroup", "/sys/fs/cgroup/memory", "rw,memory")
    machine.mount("cgroup2", "/sys/fs/cgroup/unified", "rw")
    machine.write("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/slurm/job/step\n0::/x\n")
    machine.v1("", UNLIMITED_V1, 9000 * MB)
    machine.v1("/slurm", UNLIMITED_V1, 8000 * MB)
    machine.v1("/slurm/job", 400 * MB, 150 * MB, "inactive_file 1\ntotal_inactive_file 50000000\n")
    machine.v1("/slurm/job/step", UNLIMITED_V1, 100 * MB)
    return machine


@pytest.fixture
def second(machine):
    """A machine of version 2, as systemd uses it."""
    machine.mount("cgroup2", "/sys/fs/cgroup", "rw,nsdelegate")
    machine.write("proc/self/cgroup", "0::/user.slice/run.scope\n")
    machine.v2("", 9000 * MB)
    machine.v2("/user.slice", 300 * MB, "inactive_file 100000000\n", max=2000 * MB, high="max")
    machine.v2("/user.slice/run.scope", 250 * MB, max="max", high="max")
    return machine


def test_a_parents_limit_counts_where_the_group_itself_has_none(first):
    assert first.found() == [(400 * MB, 100 * MB)], "less the page cache of all groups below"


def test_the_same_of_version_2(second):
    assert second.found() == [(2000 * MB, 200 * MB)]


def test_own_group_and_parents_all_count(second):
    second.v2("/user.slice/run.scope", 250 * MB, max=600 * MB, high="max")
    assert second.found() == [(600 * MB, 250 * MB), (2000 * MB, 200 * MB)]


def test_a_group_that_is_slowed_down_beyond_a_limit_has_it(second):
    second.v2("/user.slice/run.scope", 250 * MB, max=600 * MB, high=500 * MB)
    assert second.found()[0] == (500 * MB, 250 * MB)


def test_no_limit_at_all(second):
    second.v2("/user.slice", 300 * MB, max="max", high="max")
    assert second.found() == []


def test_a_parent_that_counts_its_own_processes_alone_is_no_bound(first):
    first.v1("/slurm/job", 400 * MB, 150 * MB, hierarchy=0)
    assert first.found() == []


def test_a_container_without_a_namespace_sees_its_group_where_it_is_mounted(machine):
    """/proc/self/cgroup has the path outside, which is not there inside."""
    machine.mount("cgroup", "/sys/fs/cgroup/memory", "rw,memory", root="/docker/f00")
    machine.write("proc/self/cgroup", "4:memory:/docker/f00\n")
    machine.v1("", 400 * MB, 100 * MB)
    assert machine.found() == [(400 * MB, 100 * MB)]
    machine.write("proc/self/cgroup", "4:memory:/kubepods/pod1/f00\n")
    assert machine.found() == [(400 * MB, 100 * MB)]


def test_parents_that_a_container_cannot_see_are_in_the_statistics_of_version_1(machine):
    machine.mount("cgroup", "/sys/fs/cgroup/memory", "rw,memory", root="/docker/f00")
    machine.write("proc/self/cgroup", "4:memory:/docker/f00\n")
    machine.v1("", UNLIMITED_V1, 100 * MB, "hierarchical_memory_limit 300000000\n")
    assert machine.found() == [(300 * MB, 100 * MB)]


def test_a_container_with_a_namespace(machine):
    machine.mount("cgroup2", "/sys/fs/cgroup", "ro")
    machine.write("proc/self/cgroup", "0::/\n")
    machine.v2("", 100 * MB, max=400 * MB)
    assert machine.found() == [(400 * MB, 100 * MB)]


def test_a_group_that_was_entered_from_outside_of_the_namespace(machine):
    machine.mount("cgroup2", "/sys/fs/cgroup", "ro")
    machine.write("proc/self/cgroup", "0::/../elsewhere\n")
    machine.v2("", 100 * MB, max=400 * MB)
    assert machine.found() == [(400 * MB, 100 * MB)]


def test_a_mount_point_with_a_space(machine):
    machine.mount("cgroup2", r"/sys/fs/my\040groups", "rw")
    machine.write("proc/self/cgroup", "0::/a\n")
    machine.write("sys/fs/my groups/a/memory.max", 400 * MB)
    machine.write("sys/fs/my groups/a/memory.current", 1 * MB)
    assert machine.found() == [(400 * MB, 1 * MB)]


@pytest.mark.parametrize("text", ["", "max", "-5", "many", "4e8", "\0"])
def test_what_is_no_number_is_no_limit(second, text):
    second.v2("/user.slice", 300 * MB, max=text, high="max")
    assert second.found() == []


def test_a_group_that_may_not_be_read_is_left_out(second):
    (second.root / "sys/fs/cgroup/user.slice/memory.current").unlink()
    assert second.found() == []


def test_no_control_groups_at_all(tmp_path):
    assert control_groups(tmp_path) == []
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("nonsense\n::\n0::/\n")
    (tmp_path / "proc/self/mountinfo").write_text("nonsense - \n- cgroup2 x y\n")
    assert control_groups(tmp_path) == []


def test_the_tightest_group_bounds_what_may_be_taken(second, monkeypatch):
    second.v2("/user.slice/run.scope", 450 * MB, max=600 * MB, high="max")
    monkeypatch.setattr(limits, "control_groups", lambda: control_groups(second.root))
    bounds = {each.name: each for each in limits.bounds(None)}
    assert bounds["cgroup"].limit_bytes == 150 * MB
    assert limits.cgroup_limit_bytes() == 600 * MB
    assert limits.left_bytes() == 150 * MB
    assert limits.scarce(0.26)
    assert not limits.scarce(0.01)


def test_a_real_group_and_its_real_parent():
    """A process in a group without a limit, below one of 400 MB."""
    memory = Path("/sys/fs/cgroup/memory")
    lines = Path("/proc/self/cgroup").read_text().splitlines() if memory.is_dir() else []
    own = next((line.split(":", 2)[2] for line in lines if ":memory:" in line), None)
    if own is None:
        pytest.skip("no control groups of version 1 here")
    parent = memory / own.lstrip("/") / f"memprof-test-{os.getpid()}"
    leaf = parent / "leaf"
    code = (
        "from memprof.launch import limits; print([g.limit_bytes for g in limits.control_groups()])"
    )
    try:
        try:
            leaf.mkdir(parents=True)
            (parent / "memory.limit_in_bytes").write_text("400000000")
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        done = subprocess.run(
            ["sh", "-c", 'echo $$ > "$1/cgroup.procs" && exec "$2" -c "$3"', "sh", leaf,
             sys.executable, code],
            stdout=subprocess.PIPE,
            check=True,
        )  # fmt: skip
    finally:
        for folder in (leaf, parent):
            with suppress(OSError):
                folder.rmdir()
    assert str(400_000_000 // PAGE_BYTES * PAGE_BYTES).encode() in done.stdout
