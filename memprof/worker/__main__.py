"""The worker process: `python -m memprof.worker DESCRIPTOR`, with the request on standard input."""

from __future__ import annotations

import sys
import traceback

from memprof.errors import BackendFailed, MeasurementError, ScenarioError
from memprof.posix import limit_data
from memprof.text import raised, said_by
from memprof.values.requests import Channel, Request


def main() -> int:
    """Run one job; the exit code is 0 if a result was sent."""
    channel = Channel(int(sys.argv[1]))
    request = Request.from_json(sys.stdin.read())
    if request.memory_limit_bytes is not None:
        limit_data(request.memory_limit_bytes)
    try:
        from memprof.profile.worker import run

        channel.result(run(request, channel))
    except ScenarioError as error:
        channel.error("scenario", field=error.field, message=error.problem, detail=error.detail)
    except BackendFailed as error:
        channel.error("backend", message=str(error), detail=error.detail)
    except MeasurementError as error:
        channel.error("failure", message=str(error), detail=error.detail)
    except MemoryError as error:
        traceback.clear_frames(error.__traceback__)
        during = "".join(f" during {operation}" for operation in getattr(error, "__notes__", ()))
        message = f"out of memory{during}: {said_by(error)}"
        channel.error("memory", message=message, detail=traceback.format_exc())
    except Exception as error:
        message = raised(error)
        channel.error("failure", message=message, detail=traceback.format_exc())
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
