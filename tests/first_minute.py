"""Colab's first minute, from a fresh kernel to the report under a cell: `python -m
tests.first_minute`. It has to take less than 20 s."""

from __future__ import annotations

import sys
import time

import nbformat
from nbclient import NotebookClient

SECONDS = 20
CELLS = (
    "%load_ext memprof",
    """%%memprof
import numpy as np
from pymdp.{module} import Agent

def make_agent(places=30):
    moves = np.stack([np.eye(places), np.roll(np.eye(places), 1, 0)], 2)
    return {agent}

agents = [make_agent() for _ in range(20)]
for agent in agents:
    {steps}""",
)
BACKENDS = {
    "numpy": {
        "module": "legacy.agent",
        "agent": "Agent(A=np.eye(places), B=moves)",
        "steps": "agent.infer_states([3]); agent.infer_policies(); agent.sample_action()",
    },
    "jax": {
        "module": "agent",
        "agent": "Agent(A=[np.eye(places)], B=[moves])",
        "steps": "agent.infer_states([np.array([[3]])], agent.D)",
    },
}


def main() -> int:
    slowest = 0.0
    for backend, words in BACKENDS.items():
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(cell.format(**words)) for cell in CELLS]
        start = time.monotonic()
        NotebookClient(notebook, kernel_name="python3").execute()
        took = time.monotonic() - start
        shown = notebook.cells[-1].outputs[-1].data["text/plain"]
        assert "\n20 agents of Agent (cell 2:" in shown, shown
        print(f"{backend}: {took:.1f} s from the start of the kernel to the report")
        slowest = max(slowest, took)
    return int(slowest > SECONDS)


if __name__ == "__main__":
    sys.exit(main())
