import json
import stat

import msgspec
import pytest
from msgspec.structs import replace

from memprof.errors import OutputError
from memprof.export import json_text, sinks
from memprof.profile.view import headline, profile_view
from memprof.render import markdown, terminal
from memprof.values.measurements import WorkingSetUse
from memprof.values.profile import OperationHotspot, PassResult, Report, Variants


def test_the_json_is_the_contract_and_reads_back_whole(report):
    original = report()
    values = json.loads(json_text.render(original))
    assert values["schema"] == "memprof.report/2"
    assert values["kind"] == "profile"
    before = values["variants"]["before"]
    assert set(before["per_agent"]) >= {
        "marginal_bytes", "ci95_bytes", "fixed_bytes", "at_n_bytes",
    }  # fmt: skip
    assert set(before) >= {
        "uss_bytes", "pss_bytes", "peak_bytes", "step_seconds", "ledger", "instruments", "hotspots",
    }  # fmt: skip
    assert set(before["hotspots"]) == {"operations", "lines", "stacks"}
    assert set(values["equivalence"]) >= {
        "verdict", "agents", "steps", "action_agreement", "max_abs_belief_error",
    }  # fmt: skip
    assert set(values["passes"][0]) >= {
        "name", "claim", "saved_bytes_per_agent", "step_time_ratio", "outcome",
    }  # fmt: skip
    assert msgspec.convert(values, Report) == original


def test_an_exact_pass_is_given_its_saving(report):
    assert headline(report()).endswith(
        "99.0% less (100 times, at least 81.8). It behaves the same, bit for bit."
    )


@pytest.mark.parametrize("verdict", ["diverged", "not_checked"])
def test_a_pass_that_is_not_proved_is_given_no_saving(report, verdict):
    text = terminal.render(profile_view(report(verdict)), width=80, color=False)
    assert "less" not in text
    assert "Reduction" not in text


def test_below_resolution_is_said_and_only_the_upper_end_is_claimed(report, good_variant):
    unresolved = good_variant(marginal=10.0, resolved=False, passes=("share",))
    assert "at most 11 B (below resolution): at least 98.7% less" in headline(
        report(after=unresolved)
    )


def test_no_reduction_is_claimed_from_a_cost_that_nobody_knows(report, good_variant):
    """What agents are known to hold stands for their cost, and is no lower end of it."""
    unresolved = good_variant(marginal=10.0, resolved=False, passes=("share",))
    found = report(after=unresolved)
    known = found.variants.before.per_agent
    held = replace(known, ci95_bytes=(-9.0, known.ci95_bytes[1]), resolved=False)
    before = replace(found.variants.before, per_agent=held)
    said = headline(replace(found, variants=replace(found.variants, before=before)))
    assert said.endswith(
        "11 B (below resolution): no reduction is certain. It behaves the same, bit for bit."
    )


@pytest.mark.parametrize(
    ("compile_seconds", "said"),
    [
        (None, "build makes an agent."),
        (4.2, "build makes all agents; compile and step is the first"),
    ],
)
def test_a_call_is_of_one_agent_or_where_they_live_together_of_all(report, compile_seconds, said):
    calls = [OperationHotspot(each, 1, 0.1, None, None) for each in ("build", "compile and step")]
    plain = report()
    variant = replace(
        plain.variants.before,
        compile_seconds=compile_seconds,
        hotspots=replace(plain.variants.before.hotspots, operations=tuple(calls)),
    )
    view = profile_view(replace(plain, variants=Variants(variant, None)))
    text = terminal.render(view, width=80, color=False)
    assert said in " ".join(text.split())


def test_the_passes_stand_below_before_and_after_with_what_each_did(report):
    passes = (
        PassResult(
            "share", "exact", 990.0, 1.02, "saves", "990 B less per agent",
            marginal_bytes=10.0, ci95_bytes=(9.0, 11.0),
        ),
        PassResult(
            "idle", "exact", None, 1.0, "no_effect", "did nothing here",
            marginal_bytes=9.0, ci95_bytes=(-1.0, 19.0),
        ),
        PassResult("broken", "exact", None, None, "diverged", "agents do something else"),
        PassResult("slow", "exact", 5.0, 3.0, "slower", "3 times as long", kept=False),
    )  # fmt: skip
    view = profile_view(replace(report(), passes=passes))
    assert [section.title for section in view.sections][:2] == ["Before and after", "Passes"]
    plan, left = view.sections[1].tables
    assert plan.rows == (
        ("before", "", "1.00 KB", "", "", ""),
        ("share", "exact", "10 B", "990 B", "1.02 x", "saves"),
        ("idle", "exact", "< 19 B", "below resolution", "1.00 x", "no effect"),
        ("broken", "exact", "-", "-", "-", "diverged"),
    )
    assert left.rows == (("slow", "slower", "3 times as long"),)
    text = terminal.render(view, width=80, color=False)
    assert max(map(len, text.splitlines())) <= 80


def test_a_plan_without_passes_claims_nothing(report, good_variant):
    left = PassResult("share", "exact", None, 1.0, "no_effect", "did nothing here", kept=False)
    found = replace(report(after=good_variant()), passes=(left,))
    assert headline(found).endswith("auto kept no pass: none helps here within its limits.")
    text = terminal.render(profile_view(found), width=80, color=False)
    assert "Reduction" not in text
    assert "Equivalence" not in text
    assert "after (" not in text
    assert "did nothing here" in text


def test_the_working_set_is_said_in_a_line(report, good_variant):
    use = WorkingSetUse(64 * 2**20, 7, 40_000_000, 45_000_000, 300, 120, 20, 113)
    after = replace(good_variant(10.0, passes=("template", "working_set")), working_set=use)
    with_it, without = (
        " ".join(terminal.render(profile_view(each), width=200, color=False).split())
        for each in (report(after=after), report())
    )
    assert (
        "Working set: 7 active agents with 40.0 MB (at most 45.0 MB) of 67.1 MB; in 75.0% "
        "of 400 uses the agent was already active; 120 activations, 20 of them ahead, 113 "
        "passivations." in with_it
    )
    assert "Working set" not in without
    values = json.loads(json_text.render(report(after=after)))
    assert values["variants"]["after"]["working_set"]["hits"] == 300


def test_a_bounded_plan_says_how_far_beliefs_moved(report):
    text = " ".join(terminal.render(profile_view(report("bounded")), width=80, color=False).split())
    assert "largest change of a belief 0.1, largest divergence of a posterior 0.01 nats" in text


def test_many_passes_do_not_burst_the_table(report, good_variant):
    names = tuple(f"a-long-name-{number}" for number in range(8))
    view = profile_view(report(after=good_variant(10.0, passes=names)))
    assert view.sections[0].tables[0].columns == ("", "before", "after (8 passes)")


def test_the_device_section_is_there_only_with_its_instrument(report, good_variant, device):
    assert "Device" not in [section.title for section in profile_view(report()).sections]
    after = good_variant(
        marginal=10.0, passes=("jit",), device=device(0.0, {"bytes_in_use": 2000, "num_allocs": 2})
    )
    found = report(after=after)
    found = replace(found, variants=replace(found.variants, before=good_variant(device=device())))
    section = next(s for s in profile_view(found).sections if s.title == "Device")
    before, _, figures, lines = section.tables
    assert before.rows == (
        ("A", "40.0 KB", "10.0 KB", "0 B", "1"),
        ("not the population's", "7.00 KB", "0 B", "7.00 KB", "2"),
        ("from before the first agent", "123 B", "", "", ""),
    )
    assert figures.rows == (
        ("compiled programs and caches", "5.00 MB", "5.00 MB"),
        ("traces in the first step", "23", "23"),
        ("traces per later step", "2", "0"),
        ("compilations in the first step", "52", "52"),
        ("compilations per later step", "1", "0"),
        ("device: bytes_in_use", "-", "2.00 KB"),
        ("device: num_allocs", "-", "2"),
    )
    assert lines.title == "before, lines that retrace"
    assert lines.rows == (("pymdp/control.py:801", "2", "lax.scan(body)"),)
    text = terminal.render(profile_view(found), width=80, color=False)
    assert "pymdp/control.py:801   2" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "pymdp/control.py:801" in markdown.render_view(profile_view(found))
    values = json.loads(json_text.render(found))
    assert values["variants"]["before"]["device"]["retraces"][0]["traces_per_step"] == 2
    assert msgspec.convert(values, Report) == found


def test_text_from_outside_is_no_markup(report):
    text = markdown.render_view(profile_view(report(name="<script>alert(1)</script>|*x*")))
    assert "<script>" not in text.replace("\\<", "")
    assert r"\<script\>alert(1)\</script\>\|\*x\*" in text
    assert r"x = a\[0\] \* b\_c \<tag\> \| \`t\`" in text


def test_every_markdown_table_has_as_many_cells_in_each_row(report):
    rows = 0
    width = None
    for line in markdown.render_view(profile_view(report())).splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = line.replace("\\|", "").count("|")
        assert width in (None, cells), line
        width, rows = cells, rows + 1
    assert rows > 30


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_report_keeps_to_its_width_and_is_plain_without_color(report, width):
    text = terminal.render(profile_view(report(name="[bold]x[/bold]")), width=width, color=False)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text
    assert "\x1b[" in terminal.render(profile_view(report()), width=width, color=True)


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "report.json"
    sinks.write_files({path: "one"})
    assert path.read_text() == "one"
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444
    (tmp_path / "file").write_text("x")
    hopeless, other = tmp_path / "file" / "report.json", tmp_path / "other.md"
    with pytest.raises(OutputError, match=r"cannot write .*file/report\.json"):
        sinks.write_files({hopeless: "two", other: "three"})
    assert other.read_text() == "three", "what can be written is"
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]
