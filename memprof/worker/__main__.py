"""The worker process: `python -m memprof.worker DESCRIPTOR`, with the request on standard input."""

from __future__ import annotations

import sys
import traceback

from memprof.catalogue import load_target
from memprof.errors import (
    BackendFailed,
    ClusterError,
    MeasurementError,
    ScenarioError,
    UsageError,
)
from memprof.posix import limit_data
from memprof.text import out_of_memory, raised
from memprof.values.requests import decode_request
from memprof.worker.job import Channel


def main() -> int:
    """Run one job; the exit code is 0 if a result was sent."""
    channel = Channel(int(sys.argv[1]))
    request = decode_request(sys.stdin.read())
    if request.memory_limit_bytes is not None:
        limit_data(request.memory_limit_bytes)
    try:
        run = load_target(request.target)
        from memprof.instruments import process

        process.left_out()  # what that leaves is garbage before the first reading, not after it
        channel.result(run(request, channel))
    except ScenarioError as error:
        channel.error("scenario", error.problem, field=error.field, detail=error.detail)
    except UsageError as error:
        channel.error("usage", str(error), detail=error.detail)
    except ClusterError as error:
        channel.error("cluster", str(error), detail=error.detail)
    except BackendFailed as error:
        channel.error("backend", str(error), detail=error.detail)
    except MeasurementError as error:
        channel.error("failure", str(error), detail=error.detail)
    except MemoryError as error:
        traceback.clear_frames(error.__traceback__)
        channel.error("memory", out_of_memory(error), detail=traceback.format_exc())
    except Exception as error:
        channel.error("failure", raised(error), detail=traceback.format_exc())
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
