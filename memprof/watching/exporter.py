"""What a watched process says of itself as metrics, by the conventions of Prometheus."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, get_args

from memprof.errors import UsageError
from memprof.values.live import Live
from memprof.values.report import LeakVerdict
from memprof.values.watch import Growth
from memprof.values.watch_jax import Compiling
from memprof.watching.alerts import Alerts
from memprof.watching.service import ANSWER_SECONDS, BACKLOG, Service

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_NO_VERDICT = "unknown"
_MOST_HEARD = 1 << 16


class Metrics:
    """A collector, for `prometheus_client`'s registries; `live` tells what there is, None where
    the block has ended."""

    def __init__(self, live: Callable[[], Live | None], alerts: Alerts) -> None:
        self._live, self._alerts = live, alerts

    def describe(self) -> Iterator[Metric]:
        """All that there may be, without asking the process: a registry takes no two of a name."""
        return _metrics(_ALL, Alerts(0, 0.0, None))

    def collect(self) -> Iterator[Metric]:
        """What there is now."""
        live = self._live()
        if live is not None:
            yield from _metrics(live, self._alerts)


_ALL = Live(
    pid=0, program="", began=0.0, seconds=0.0, uss_bytes=0, resident_bytes=0, peak_bytes=0,
    kinds=(), shared_bytes=0, looked_seconds=0.0, operations=(), watch_seconds=0.0,
    growth=Growth(1, 0, 0, "clean", 0.0, (0.0, 0.0), None), compiling=Compiling(0, 0, 0.0, ()),
)  # fmt: skip


def _metrics(live: Live, alerts: Alerts) -> Iterator[Metric]:
    yield from _process(live)
    yield from _kinds(live)
    yield from _operations(live)
    yield from _growth(live)
    yield from _compiling(live)
    yield from _alerts(alerts)


def _process(live: Live) -> Iterator[Metric]:
    if live.uss_bytes is not None:
        yield _gauge("process_uss", "Memory that this process alone uses.", live.uss_bytes)
    yield _gauge("process_resident", "Memory of this process in RAM.", live.resident_bytes)
    if live.peak_bytes is not None:
        yield _gauge("process_peak_resident", "The most that was in RAM.", live.peak_bytes)
    about = "Time that memprof spent looking at agents."
    yield _counter("watch", about, live.watch_seconds, unit="seconds")
    if live.looked_seconds is not None:
        about = "When agents were last looked at, in Unix time."
        moment = live.began + live.looked_seconds
        yield _gauge("look_timestamp", about, moment, unit="seconds")


def _kinds(live: Live) -> Iterator[Metric]:
    alive = _family("agents", "Agents that live; rows of a JAX batch count.", unit="")
    about = "What constructors built; a JAX batch is one."
    built = _counters("agents_built", about, ["kind", "backend"])
    each = _family("agent_private", "What an agent holds alone, the mean.")
    most = _family("largest_agent_private", "What the largest agent holds alone.")
    for kind in live.kinds:
        labels = [kind.name, kind.backend]
        alive.add_metric(labels, kind.agents)
        built.add_metric(labels, kind.built)
        if kind.private_bytes is not None and kind.largest_bytes is not None:
            each.add_metric(labels, kind.private_bytes)
            most.add_metric(labels, kind.largest_bytes)
    yield from (alive, built, each, most)
    yield _gauge("agents_shared", "What several agents hold, each byte once.", live.shared_bytes)


def _operations(live: Live) -> Iterator[Metric]:
    from prometheus_client.metrics_core import SummaryMetricFamily

    about = "Time in PyMDP's methods, with those that each calls."
    found = SummaryMetricFamily(
        "memprof_operation_seconds", about, labels=["operation"], unit="seconds"
    )
    for use in live.operations:
        found.add_metric([use.operation], use.calls, use.seconds)
    yield found


def _growth(live: Live) -> Iterator[Metric]:
    from prometheus_client.metrics_core import StateSetMetricFamily

    growth = live.growth
    verdict = _NO_VERDICT if growth is None or growth.verdict is None else growth.verdict
    states = {name: name == verdict for name in (*get_args(LeakVerdict), _NO_VERDICT)}
    yield StateSetMetricFamily(
        "memprof_leak_state", "Whether the process grows from step to step.", states
    )
    if growth is None:
        return
    yield _counter("steps", "Steps of all agents that live, since there are as many.",
                   growth.last_step, unit="")  # fmt: skip
    if growth.bytes_per_step is not None and growth.ci95_bytes is not None:
        about = "Growth of the process in a step of all agents"
        low, high = growth.ci95_bytes
        yield _gauge("step_growth", f"{about}.", growth.bytes_per_step)
        yield _gauge("step_growth_low", f"{about}, lower end of its 95 % interval.", low)
        yield _gauge("step_growth_high", f"{about}, upper end of its 95 % interval.", high)


def _compiling(live: Live) -> Iterator[Metric]:
    found = live.compiling
    if found is not None:
        yield _counter("jax_traces", "Functions that JAX traced.", found.traces, unit="")
        about = "Programs that JAX compiled."
        yield _counter("jax_compilations", about, found.compilations, unit="")
        about = "Time in which JAX compiled."
        yield _counter("jax_compiling", about, found.seconds, unit="seconds")


def _alerts(alerts: Alerts) -> Iterator[Metric]:
    if alerts.budget_bytes is not None:
        yield _gauge("agent_budget", "What an agent may hold alone.", alerts.budget_bytes)
    labels = ["alert", "kind"]
    about = "Whether an alert is raised, and not well again."
    active = _family("alert_active", about, unit="", labels=labels)
    raised = _counters("alerts_raised", "How often an alert was raised.", labels)
    now = {(alert.what, alert.kind) for alert in alerts.active}
    for key, count in [*alerts.raised.items()]:
        active.add_metric(key, int(key in now))
        raised.add_metric(key, count)
    yield from (active, raised)


def _family(
    name: str, about: str, *, unit: str = "bytes", labels: Any = ("kind", "backend")
) -> Any:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(f"memprof_{name}", about, labels=labels, unit=unit)


def _gauge(name: str, about: str, value: float, *, unit: str = "bytes") -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(f"memprof_{name}", about, value, unit=unit)


def _counters(name: str, about: str, labels: list[str]) -> Any:
    from prometheus_client.metrics_core import CounterMetricFamily

    return CounterMetricFamily(f"memprof_{name}", about, labels=labels)


def _counter(name: str, about: str, value: float, *, unit: str) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    return CounterMetricFamily(f"memprof_{name}", about, value, unit=unit)


def check_library() -> None:
    """See that the library is there.

    Raises:
        UsageError: it is not.
    """
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise UsageError(
            "memprof.watch: metrics need the package prometheus_client; "
            "pip install 'memprof-pymdp[prometheus]'"
        ) from None


class Exporter:
    """Serves metrics over HTTP, in the format that is asked for: OpenMetrics, or Prometheus' text.

    Attributes:
        port: that it is reached at.

    Raises:
        UsageError: nothing can be served there.
    """

    def __init__(self, metrics: Metrics, address: str, port: int) -> None:
        from prometheus_client import CollectorRegistry, MetricsHandler

        class Handler(MetricsHandler):
            def setup(self) -> None:
                super().setup()
                self.rfile = io.BytesIO(_heard(self.request))

        registry = CollectorRegistry()
        registry.register(metrics)
        handler: Any = Handler.factory(registry)
        listening = _listening(address, port)
        self.port: int = listening.getsockname()[1]
        self._service = Service(listening, lambda asked: handler(asked, asked.getpeername(), None))

    def go_on(self) -> None:
        self._service.go_on()

    def rest(self) -> None:
        self._service.rest()

    def let_go(self) -> None:
        self._service.let_go()


def _heard(asked: socket.socket) -> bytes:
    """A request with its headers; who says it byte by byte keeps nobody waiting for long."""
    data, end = b"", time.monotonic() + ANSWER_SECONDS
    while b"\r\n\r\n" not in data and len(data) < _MOST_HEARD:
        asked.settimeout(max(0.001, end - time.monotonic()))
        more = asked.recv(4096)
        if not more:
            break
        data += more
    asked.settimeout(ANSWER_SECONDS)
    return data


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (while ")[0]
        raise UsageError(
            f"memprof.watch: cannot serve metrics at {address}, port {port}: {reason.lower()}; "
            "choose another prometheus_port, or 0 for any that is free"
        ) from None
