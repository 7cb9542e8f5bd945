"""MMP without what PyMDP prints: the same beliefs, and not a word."""

import numpy as np
from pymdp.legacy import utils
from pymdp.legacy.agent import Agent
from pymdp.legacy.algos import mmp

from memprof.upstream.prints import leave_out_prints


def beliefs():
    A, B = utils.obj_array(1), utils.obj_array(1)
    A[0], B[0] = np.eye(3) * 0.7 + 0.1, np.stack([np.eye(3), np.eye(3)[::-1]], axis=-1)
    agent = Agent(A=A, B=B, inference_algo="MMP", inference_horizon=2, policy_len=1)
    agent.infer_states([1])
    return [state.tolist() for policy in agent.qs for step in policy for state in step]


def test_mmp_prints_no_more_and_believes_the_same(capsys, monkeypatch):
    for name in ("run_mmp", "run_mmp_factorized"):
        function = getattr(mmp, name)
        monkeypatch.setattr(function, "__code__", function.__code__)
    before = beliefs()
    assert "lnA at time" in capsys.readouterr().out, "PyMDP prints in every iteration"
    leave_out_prints()
    assert beliefs() == before
    assert capsys.readouterr().out == ""
    assert mmp.run_mmp.__code__.co_filename == mmp.__file__
