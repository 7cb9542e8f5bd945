"""`memprof.watch` in a program that lives: its metrics, its alerts, its door, and what is left."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from memprof.top.ask import ask
from memprof.watching import address
from memprof.watching.alerts import Alerts
from memprof.watching.exporter import Metrics
from tests.cli.test_run import SMALL
from tests.conftest import ROOT

NOBODY = 65_534
PAGE = ROOT / "docs" / "watch.md"
DASHBOARD = ROOT / "docs" / "grafana-dashboard.json"
SERVICE = """
import json, os, queue, sys, threading, warnings
import memprof
from memprof.watching import observer

observer.SHARE = 1.0  # else tests wait for looks, which keep to a small part of the time
{small}
class Forager(Agent):
    pass

def forager():
    return Forager(A=arrays(np.eye(5)), B=arrays(np.stack([np.eye(5)] * 2, 2)))

def all_step():
    for agent in agents:
        step(agent, 1)
        agent.prev_actions = None  # PyMDP's own history

agents, kept = [], []
raised = {{"budget": queue.Queue(), "growth": queue.Queue()}}
watch = memprof.watch(
    interval="100 ms", prometheus_port=0, budget="per_agent=20 KB", leak_after=0,
    alert=lambda alert: raised[alert.what].put(str(alert)),
)
with watch:
    print(json.dumps(watch.prometheus_port), flush=True)
    for line in sys.stdin:
        answer = None
        exec(json.loads(line))
        print(json.dumps(answer), flush=True)
"""


class Service:
    """A program that is watched, and does what it is told."""

    def __init__(self, folder):
        script = folder / 'od"d\\name.py'
        lines = SMALL.strip("\n").split("\n")
        script.write_text(SERVICE.format(small="\n".join(line[4:] for line in lines)))
        self.process = subprocess.Popen(
            [sys.executable, script.name],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.port = json.loads(self.process.stdout.readline())

    def do(self, text):
        self.process.stdin.write(json.dumps(text) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def metrics(self, path="/metrics"):
        """By name of the sample and its labels; and the units of the families."""
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=accept)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            families = [*text_string_to_metric_families(answer.read().decode())]
        samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }
        return samples, {family.name: family.unit for family in families}

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        return self.process.stderr.read()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    found = Service(tmp_path_factory.mktemp("service"))
    yield found
    found.process.kill()
    found.process.communicate()


def names(samples):
    return {name for name, *_ in samples}


def family_of(name, families):
    return next(
        (name.removesuffix(end) for end in ("_total", "_count", "_sum") if name.endswith(end)
         and name.removesuffix(end) in families), name
    )  # fmt: skip


def test_metrics_name_kinds_and_units(service):
    service.do("agents += [small(10) for _ in range(3)] + [forager() for _ in range(2)]")
    service.do("while not watch.live().looked_seconds: all_step()")
    samples, units = service.metrics()
    agents = {key[2][1]: value for key, value in samples.items() if key[0] == "memprof_agents"}
    kinds = {kind.partition(" ")[0]: (kind, count) for kind, count in agents.items()}
    assert {name: count for name, (_, count) in kinds.items()} == {"Agent": 3, "Forager": 2}
    kind = kinds["Agent"][0]
    assert 'od"d\\name.py:' in kind, "labels are escaped"
    labels = ("backend", "numpy"), ("kind", kind)
    assert 10 * 10 * 8 * 3 < samples["memprof_agent_private_bytes", *labels] < 20_000
    assert samples["memprof_agents_built_total", *labels] == 3
    assert samples["memprof_agent_budget_bytes",] == 20_000
    calls = samples["memprof_operation_seconds_count", ("operation", "infer_states")]
    seconds = samples["memprof_operation_seconds_sum", ("operation", "infer_states")]
    assert calls >= 5 > seconds > 0
    states = [value for key, value in samples.items() if key[0] == "memprof_leak_state"]
    assert sum(states) == 1
    assert samples["memprof_process_uss_bytes",] > 10**7
    for name, unit in units.items():
        measured = re.search(r"(bytes|seconds)$", name)
        assert unit == (measured[1] if measured else ""), name
    assert service.do("answer = threading.enumerate() == [threading.main_thread()]")


def test_a_budget_is_told_of_once_until_it_is_kept_again(service):
    text = "answer = raised['budget'].get(timeout=120)"
    service.do("agents[:] = [small(60)]")
    words = service.do(text)
    kind, _, rest = words.partition(": an agent holds ")
    assert rest.endswith(" KB, above the budget of 20.0 KB")
    assert 60 * 60 * 8 * 3 < float(rest.split()[0]) * 1000 < 150_000
    labels = ("alert", "budget"), ("kind", kind)
    samples, _ = service.metrics()
    assert samples["memprof_alert_active", *labels] == 1
    service.do(
        "agents[:] = [small(10) for _ in range(4)]\n"
        "while any(each.what == 'budget' for each in watch.alerts): all_step()"
    )
    samples, _ = service.metrics()
    assert samples["memprof_alert_active", *labels] == 0
    assert samples["memprof_alerts_raised_total", *labels] == 1
    service.do("agents[:] = [small(60)]")
    assert service.do(text).startswith(f"{kind}: an agent holds ")
    assert service.metrics()[0]["memprof_alerts_raised_total", *labels] == 2
    assert service.do("answer = raised['budget'].empty()")


def test_growth_that_goes_on_is_told_of(service):
    service.do("""
agents[:] = [small(10) for _ in range(5)]
while (
    "growth" not in {each.what for each in watch.alerts}
    or (watch.live().growth.bytes_per_step or 0) < 20_000
):
    all_step()
    kept.append(np.ones(4000))
""")
    assert service.do("answer = raised['growth'].get()").startswith("the process grows by ")
    samples, _ = service.metrics()
    assert samples["memprof_leak_state", ("memprof_leak_state", "leak")] == 1
    assert samples["memprof_step_growth_bytes",] == pytest.approx(32_000, rel=0.3)
    assert samples["memprof_step_growth_low_bytes",] > 0
    assert samples["memprof_alert_active", ("alert", "growth"), ("kind", "")] == 1


def test_every_metric_of_the_dashboard_is_one(service):
    asked = {
        target["expr"]
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", ())
    }
    wanted = {name for text in asked for name in re.findall(r"\bmemprof_\w+", text)}
    assert len(wanted) > 20
    families = {metric.name for metric in Metrics(lambda: None, Alerts(None, 0.0, None)).describe()}
    assert {family_of(name, families) for name in wanted} <= families
    said = re.findall(r"`(memprof_\w+)", PAGE.read_text())
    assert {family_of(name, families) for name in said} == families, "docs list them all"
    service.do("agents[:] = [small(10) for _ in range(3)]")
    service.do("while not (found := watch.live().growth) or not found.verdict: all_step()")
    _, units = service.metrics()
    of_jax = {name for name in families if "_jax_" in name}
    assert families - of_jax == {*units}, "it says beforehand what there may be"
    assert "memprof_jax_traces" in of_jax


# Imports come first: nobody may read where Python is.
TOP_AS_NOBODY = """
import contextlib, io, os
from memprof.cli.commands import app
with contextlib.redirect_stdout(io.StringIO()):
    app(["top", "{pid}"], standalone_mode=False)
os.setgroups([])
os.setgid({nobody})
os.setuid({nobody})
app(["top", "{pid}"], standalone_mode=False)
"""


def test_top_shows_it_to_its_user_and_to_nobody_else(service, memprof):
    pid = service.process.pid
    service.do("agents[:] = [small(10) for _ in range(6)] + [forager()]\nall_step()")
    service.do("while watch.live().agents != 7: all_step()")
    seen = memprof("top", pid, "--json", "-")
    found = json.loads(seen.out)
    assert (found["schema"], found["note"]) == ("memprof.top/1", "")
    assert found["process"]["pid"] == found["live"]["pid"] == pid
    assert found["process"]["uss_bytes"] > 10**7
    assert found["live"]["program"].endswith("name.py")
    alive = {kind["name"].partition(" ")[0]: kind["agents"] for kind in found["live"]["kinds"]}
    assert alive == {"Agent": 6, "Forager": 1}
    shown = memprof("top", pid)
    assert shown.code == 0
    assert "7 agents of 2 kinds hold " in " ".join(shown.out.split())
    assert "infer_policies" in shown.out
    assert str(pid) in memprof("top").out, "it is listed"
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    others = subprocess.run(
        [sys.executable, "-P", "-c", TOP_AS_NOBODY.format(nobody=NOBODY, pid=pid)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = " ".join(others.stdout.split())
    assert (others.returncode, others.stderr) == (0, "")
    assert "It is watched, but tells only its own user of its agents" in said
    assert "The system tells what is missing only to its user, root." in said
    assert "Forager" not in said


AS_NOBODY = """
import os, socket, sys
os.setuid({nobody})
asked = socket.socket(socket.AF_UNIX)
asked.connect("\\0" + sys.argv[1])
try:
    asked.sendall(b"live\\n")
    print(len(asked.recv(100)))
except OSError:
    print(0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_neither_end_of_the_socket_takes_another_for_its_own(service, tmp_path):
    """Whoever connects as another user hears nothing; whoever takes a name is not believed."""
    (mine,) = [
        name
        for name in address.listed()
        if (found := address.connected(name, 5)) and address.peer(found)[0] == service.process.pid
    ]
    told = subprocess.run(
        [sys.executable, "-c", AS_NOBODY.format(nobody=NOBODY), mine],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout == "0\n"
    live, _ = ask(service.process.pid, "root")
    assert live.pid == service.process.pid, "its own user is told, also after that"
    squat = address.listening()
    try:
        assert ask(1, "root")[0] is None, "this process is not that one"
    finally:
        squat.close()


def test_a_fork_has_neither_threads_nor_sockets_nor_the_port(service):
    before = service.do("answer = watch.prometheus_port")
    assert (
        service.do("""
child = os.fork()
if child == 0:
    sockets = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")[:-1]]
    alone = len(os.listdir("/proc/self/task")) == 1
    os._exit(7 if alone and not any(each.startswith("socket") for each in sockets) else 1)
answer = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
""")
        == 7
    )
    assert service.do("answer = watch.prometheus_port") == before
    assert "memprof_process_uss_bytes" in names(service.metrics()[0])
    assert ask(service.process.pid, "")[0].pid == service.process.pid


def test_who_says_nothing_or_nonsense_keeps_nobody_waiting(service):
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(50)]
    try:
        silent[-1].sendall(b"\x00\xff nonsense\r\n\r\n")
        silent[-2].sendall(b"GET /metr")
        assert service.metrics("/metrics?name[]=memprof_process_uss_bytes")[0]
    finally:
        for each in silent:
            each.close()


def test_nothing_stays_when_the_program_is_killed(service):
    service.process.kill()
    service.process.wait()
    with socket.create_server(("127.0.0.1", service.port)):
        pass
    assert ask(service.process.pid, "")[0] is None
