"""The user's notebook, watched: `python -P -m memprof.run.notebook EVENTS LIMIT SITES FOLDER
FILE`.

Its code cells run in their order in a kernel of their own, of the Python that runs memprof and in
the notebook's folder. The kernel's process is the one that is watched, see `memprof.run.program`;
this one prints what cells put out, and tells of the cell that fails. The two talk over sockets in
FOLDER, which is nobody else's. The file is only read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from memprof.run.program import INTERRUPTED
from memprof.run.target import read_notebook
from memprof.values.watch import CellFailed, Said

# The last where nobody reads what cells print; else they would go on for nobody.
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)
_START_SECONDS = 600
# While agents live: the kernel lets go of all variables before it ends.
_LAST_WORD = "__import__('memprof.watching.observer', fromlist=['current']).current().end()"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class _Kernels(KernelSpecManager):
    """The one kernel that there is, whichever the notebook names."""

    def __init__(self, events: int, limit: str, sites: str, folder: Path) -> None:
        super().__init__()
        own = ["-P", "-m", "memprof.run.program", str(events), limit, sites, str(folder), "kernel"]
        self._command = [sys.executable, *own, "ipykernel_launcher", "-f", "{connection_file}"]

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Its command."""
        return KernelSpec(argv=self._command, display_name=kernel_name, language="python")


class _Client(NotebookClient):
    """Prints what cells put out as it comes, and keeps none of it."""

    def output(
        self, outs: list[Any], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> None:
        """Text as it is, all else as its plain text."""
        said = msg["content"]
        match msg["msg_type"]:
            case "stream":
                _print(said["text"], sys.stderr if said["name"] == "stderr" else sys.stdout)
            case "error":
                _print("\n".join([*said["traceback"], ""]), sys.stderr)
            case "display_data" | "execute_result":
                if text := said["data"].get("text/plain"):
                    _print(f"{text}\n", sys.stdout)


def _print(text: str, stream: Any) -> None:
    if stream is sys.stderr and (os.environ.get("NO_COLOR") or not stream.isatty()):
        text = _COLOURS.sub("", text)
    with contextlib.suppress(BrokenPipeError):  # there is a signal, too
        stream.write(text)
        stream.flush()


class _Run:
    """One run of a notebook."""

    def __init__(self, events: int, limit: str, sites: str, folder: Path, file: Path) -> None:
        self._events, self._file, self._folder = events, file, folder
        self._manager = AsyncKernelManager(
            kernel_spec_manager=_Kernels(events, limit, sites, folder),
            connection_file=str(folder / "kernel.json"),
            transport="ipc",
        )
        notebook = read_notebook(file)
        self._client = _Client(notebook, km=self._manager, startup_timeout=_START_SECONDS)
        self._interrupted, self._ended_by = False, 0
        self._cell = 0

    async def to_its_end(self) -> int:
        """All cells, or those until one fails; the exit code, or minus the signal that ended
        them."""
        loop, running = asyncio.get_running_loop(), asyncio.ensure_future(self._run())

        def end(number: int) -> None:
            self._ended_by = number
            running.cancel()

        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        for number in _ENDING:
            loop.add_signal_handler(number, end, number)
        try:
            return await running
        except asyncio.CancelledError:
            return -self._ended_by
        finally:  # whatever it is, no kernel stays
            if self._manager.has_kernel:
                await self._manager.shutdown_kernel(now=True)
            if self._client.kc is not None:
                self._client.kc.stop_channels()

    async def _run(self) -> int:
        if not await self._starts():
            return 1
        try:
            failed = await self._run_cells()
        except DeadKernelError:
            return await self._died()
        with contextlib.suppress(DeadKernelError):  # the last cell may have ended it
            await self._have_the_last_word()
        await self._manager.request_shutdown()  # and no interrupt, which says so where it is unfit
        await self._manager.finish_shutdown()
        return INTERRUPTED if self._interrupted else int(failed)

    async def _starts(self) -> bool:
        # Whatever cells say comes as messages, also from processes that they start; the kernel
        # says all that a second time by itself.
        with (self._folder / "said").open("w+") as said:
            try:
                await self._client.async_start_new_kernel(
                    cwd=str(self._file.resolve().parent),
                    pass_fds=[self._events],
                    stdout=said,
                    stderr=said,
                )
                await self._client.async_start_new_kernel_client()
            except (DeadKernelError, RuntimeError):  # nbclient knows no better
                said.seek(0)
                _print(f"{said.read()}{self._file}: the kernel did not start\n", sys.stderr)
                return False
        return True

    async def _run_cells(self) -> bool:
        """Whether one failed, after which no other runs."""
        for place, cell in enumerate(self._client.nb.cells):
            if self._interrupted:
                break
            cell["execution_count"] = None  # of an earlier run
            try:
                await self._client.async_execute_cell(cell, place)
            except CellExecutionError as error:
                if not self._interrupted:
                    self._tell(cell["execution_count"], f"{error.ename}: {error.evalue}")
                return True
            self._cell = cell["execution_count"] or self._cell
        return False

    async def _have_the_last_word(self) -> None:
        """The watched process says what it knows, while the notebook's variables are there."""
        kernel: Any = self._client.kc
        await self._client.async_wait_for_reply(
            kernel.execute(_LAST_WORD, silent=True, store_history=False)
        )

    async def _died(self) -> int:
        """Of itself, or because someone has ended it."""
        if self._ended_by:  # nbclient takes that for the kernel's death
            return -self._ended_by
        provisioner: Any = self._manager.provisioner
        code: int = await provisioner.poll() or 0
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        self._tell(self._cell + 1, f"its kernel ended with {how}")
        return code or 1

    def _interrupt(self) -> None:
        """As a notebook's button does; and no further cell runs."""
        self._interrupted = True
        if self._manager.has_kernel:
            self._interrupting = asyncio.ensure_future(self._manager.interrupt_kernel())

    def _tell(self, cell: int, error: str) -> None:
        """Which cell failed: the user, and memprof."""
        _print(f"{self._file}: cell {cell} failed; none after it ran\n", sys.stderr)
        word = msgspec.json.encode(Said(failed=CellFailed(cell, error)))
        os.write(self._events, b"\n" + word + b"\n")  # the kernel may not have finished a line


def main() -> None:
    """Run it, and end as its kernel did."""
    events, limit, sites, folder, file = sys.argv[1:]
    code = asyncio.run(_Run(int(events), limit, sites, Path(folder), Path(file)).to_its_end())
    if code >= 0:
        sys.exit(code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # some have no other handler
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)


if __name__ == "__main__":
    main()
