from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from memprof.cli.app import main
from tests.conftest import Command, Run


@pytest.fixture
def memprof_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run `memprof ARGUMENTS` as the fixture `memprof` does, but in this process: for what starts
    no worker, where starting Python would be most of the time."""

    def run(*arguments: object, **environment: str) -> Run:
        monkeypatch.chdir(tmp_path)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["memprof", *map(str, arguments)])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        code = ended.value.code
        assert isinstance(code, int)
        return Run(code, *capsys.readouterr(), tmp_path)

    return run
