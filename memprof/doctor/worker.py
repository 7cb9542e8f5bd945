"""What `memprof doctor` asks of a worker: whether its readings tell the truth, and PyMDP starts."""

from __future__ import annotations

from memprof.instruments import process
from memprof.values.instruments import Calibration
from memprof.values.requests import TryReadings
from memprof.worker.job import Channel, backend_of


def try_readings(request: TryReadings, channel: Channel) -> Calibration:
    """What the readings are worth here, tried with memory of known size; the backend is imported
    afterwards.

    Raises:
        BackendFailed: it cannot be.
    """
    found = process.calibration()
    channel.progress("import")
    backend_of(request.spec)
    return found
