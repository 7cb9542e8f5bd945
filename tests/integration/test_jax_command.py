"""`memprof profile` on JAX agents, as users run it."""

import json

import pytest

from tests.conftest import SCENARIOS


@pytest.mark.usefixtures("users_compiler")
def test_a_leak_is_shown_and_named_and_the_compiled_loop_holds_still(memprof, tmp_path):
    run = memprof(
        "profile", SCENARIOS / "leak-eager-jax.yaml", "--agents", 2, "--steps", 2,
        "--effort", "quick", "--instruments", "device", "--out", tmp_path, "--full",
    )  # fmt: skip
    assert run.code == 0, run.err
    report = json.loads((tmp_path / "leak-eager-jax.json").read_text())
    before, after = report["variants"]["before"], report["variants"]["after"]
    agents = before["ledger"]["agents"]
    low, _ = before["trend"]["ci95_bytes"]
    assert low * agents > 1e6, "megabytes per step"
    assert after["trend"]["bytes_per_step"] * agents < 1e4
    (warning,) = [each for each in report["warnings"] if each["kind"] == "retracing"]
    assert "before: JAX still traces 1" in warning["evidence"]
    assert "pymdp/control.py:" in warning["evidence"]
    assert "jit" in warning["remedy"]
    assert before["device"]["retraces"][0]["path"] == "pymdp/control.py"
    assert before["device"]["traces_per_step"] >= 1
    assert after["device"]["traces_per_step"] == 0
    assert after["device"]["retraces"] == []
    assert report["equivalence"]["action_agreement"] == 1
    assert "lines that retrace" in run.out
    assert report["environment"]["device"] == "cpu"
    assert report["environment"]["backend"]["x64"] == "off"
    assert report["environment"]["backend"]["preallocation"] == "none"
    assert report["environment"]["versions"]["jax"]
    rows = {row["component"]: row for row in after["ledger"]["rows"]}
    each = rows["B"]["private_nominal_bytes"] / after["ledger"]["agents"]
    assert each == pytest.approx(4 * 25 * 25 * 5, rel=0.05)
    assert rows["compiled programs, caches"]["shared_resident_bytes"] > 1e6
