"""What is advised, on scripted reports."""

import json
import re

import pytest
from msgspec.structs import replace

from memprof.catalogue.passes import passes_for
from memprof.profile.advice import advise
from memprof.profile.next_step import next_step
from memprof.profile.passes import recommended
from memprof.profile.view import profile_view
from memprof.render import markdown, terminal
from memprof.values.instruments import ContentRow, GainRow, ImportRow
from memprof.values.measurements import Ledger, LedgerRow
from memprof.values.profile import Advice, PassResult, Trend
from memprof.values.report import BudgetCheck, PerAgent, Variants

OFFERED = passes_for("numpy")
B_BYTES = 800.0
CLEAN = Trend("clean", 0.0, (-1.0, 1.0), 4.0, 21, 30)


def cost(marginal, fixed=1e5, resolved=True):
    at_n = fixed + 20 * marginal
    return PerAgent(marginal, (marginal * 0.99, marginal * 1.01), fixed, at_n, resolved)


def ledger(**each):
    """Of 20 agents; bytes that each holds alone, by component."""
    rows = tuple(
        LedgerRow(name, int(20 * size), 0, int(20 * size), 0, 20) for name, size in each.items()
    )
    return Ledger(20, 20_000, 20_000, 0, 900.0, rows)


def content(component="B", alike=20, copies=19, zeros=0.1, size=B_BYTES):
    return ContentRow(component, 20, alike, copies, int(size), int(size), zeros)


def plain(variant, **fields):
    """A variant of 1,000 bytes per agent with nothing to advise on."""
    held = ledger(B=B_BYTES, A=100, policies=20)
    return replace(variant, **{"per_agent": cost(1000), "trend": CLEAN, "ledger": held, **fields})


@pytest.fixture
def case(report, good_variant):
    """A report of `before`, and of `after` under the passes of `rows`."""

    def make(before=None, rows=(), after=None, verdict="exact", **scenario):
        plan = tuple(row.name for row in rows if row.kept)
        made = report(verdict)
        first = plain(good_variant(), **(before or {}))
        fields = {"per_agent": cost(50, 1e4), "ledger": ledger(), **(after or {})}
        second = plain(good_variant(passes=plan), **fields) if plan else None
        return replace(
            made,
            scenario=replace(made.scenario, **{"passes": plan, **scenario}),
            variants=Variants(first, second),
            passes=tuple(rows),
        )

    return make


def saving(name, saved=950.0, outcome="saves", **fields):
    values = {"marginal_bytes": 50.0, "ci95_bytes": (49.0, 51.0), **fields}
    return PassResult(
        name, "exact", saved, 1.0, outcome, f"{saved or 0:.0f} B less per agent", **values
    )


def found(report, kind, offered=OFFERED):
    return [each for each in advise(report, offered) if each.kind == kind]


def option(advice):
    """What is to be added to the command line."""
    return re.match(
        r"(?:U|In a scenario, u)se (--passes [\w,]*\w(?: --history-steps \d+)?|passes: \[.*?\])",
        advice.remedy,
    )[1]


def test_nothing_is_advised_where_nothing_is_known(case):
    assert advise(case(), OFFERED) == ()


def test_copies_are_to_be_shared_and_no_saving_is_claimed(case):
    (advice,) = found(case({"contents": (content(zeros=0.95),)}), "alike")
    assert "all 20 agents" in advice.finding
    assert "19 copies of B, 800 B requested each, 95.0% zeros" in advice.evidence
    assert option(advice) == "--passes share"
    assert (advice.solved_by, advice.saves_bytes) == ("", None)
    assert advice.stake_bytes == pytest.approx(19 * B_BYTES)


def test_a_view_that_keeps_a_larger_array_is_to_be_copied(case):
    row = ContentRow("D", 20, 1, 0, 40_000, 400, 0.9, pinned_bytes=39_000)
    before = {"contents": (row,), "ledger": ledger(D=400, B=600)}
    (advice,) = found(case(before), "views")
    assert "390 B" in advice.finding
    assert ".copy()" in advice.remedy
    assert advice.stake_bytes == pytest.approx(20 * 390)
    held_by_another = {**before, "ledger": ledger(D=10, B=990)}
    assert not found(case(held_by_another), "views"), "whose array it is keeps it anyway"


def test_copies_of_some_agents_are_said_to_be_of_some(case):
    rows = (content("A"), content(alike=19, copies=18))
    found_apart = [each.finding for each in found(case({"contents": rows}), "alike")]
    assert ["all 20 agents" in each for each in found_apart] == [False, True]
    assert "19 of 20 agents" in found_apart[0]
    rows = (content(alike=12, copies=11),)
    (advice,) = found(case({"contents": rows}), "alike")
    assert "12 of 20 agents" in advice.finding
    (advice,) = found(case({"contents": (content(),)}, agents=1000), "alike")
    assert "all 20 agents compared (of 1,000)" in advice.finding


@pytest.mark.parametrize(
    "row",
    [
        content(copies=0),
        content(alike=1, copies=0),
        content("beliefs (qs)"),
        content("A", size=40),
    ],
    ids=["held once", "different", "changes with every step", "too small"],
)
def test_what_sharing_would_not_help_is_not_said(case, row):
    held = ledger(A=40, B=B_BYTES, **{"beliefs (qs)": B_BYTES})
    assert not found(case({"contents": (row,), "ledger": held}), "alike")


def test_what_is_learned_is_for_template_since_an_update_undoes_sharing(case):
    (advice,) = found(case({"contents": (content(),)}, learning=("B",)), "alike")
    assert option(advice) == "--passes template"


def test_a_pass_of_the_plan_that_has_done_it_is_given_its_measured_saving(case):
    (advice,) = found(case({"contents": (content(),)}, [saving("share")]), "alike")
    assert advice.solved_by == "share"
    assert advice.saves_bytes == 20 * 950
    assert "950 B" in advice.remedy


def test_a_pass_of_the_plan_that_has_not_done_it_is_not_its_solution(case):
    rows = [saving("policies", 20.0)]
    after = {"per_agent": cost(980), "ledger": ledger(B=B_BYTES)}
    (advice,) = found(case({"contents": (content(),)}, rows, after), "alike")
    assert advice.solved_by == ""
    assert option(advice) == "--passes share,policies"


@pytest.mark.parametrize("outcome", ["diverged", "not_checked", "failed"])
def test_a_pass_that_is_not_proved_has_solved_nothing(case, outcome):
    row = replace(saving("share", outcome=outcome), detail="why")
    made = case({"contents": (content(),)}, [row], verdict="not_checked")
    (advice,) = found(made, "alike")
    assert (advice.solved_by, advice.saves_bytes) == ("", None)
    assert advice.remedy.endswith(": why.")


def test_what_auto_tried_and_left_out_is_not_advised(case):
    left = [replace(saving(name, outcome="slower"), kept=False) for name in ("share", "template")]
    (advice,) = found(case({"contents": (content(),)}, left), "alike")
    assert option(advice) == "--passes mmap"
    left.append(replace(saving("mmap", outcome="slower"), kept=False))
    assert not found(case({"contents": (content(),)}, left), "alike")


def test_zeros_of_each_agents_own_matrices_are_for_sparse(case):
    rows = (content(alike=1, copies=0, zeros=0.95), content("A", 1, 0, 0.95, 100))
    (advice,) = found(case({"contents": rows}), "zeros")
    assert "95.0% of B and 95.0% of A" in advice.finding
    assert option(advice) == "--passes sparse"
    assert advice.stake_bytes == pytest.approx(20 * 0.95 * 900)
    (dense,) = (replace(rows[0], zeros=0.7),)
    assert not found(case({"contents": (dense,)}), "zeros")


def test_zeros_that_all_agents_have_alike_are_said_with_their_copies_alone(case):
    made = case({"contents": (content(zeros=0.95),)}, agents=10)
    assert not found(made, "zeros")
    assert "95.0% zeros" in found(made, "alike")[0].evidence
    assert found(case({"contents": (content(zeros=0.95),)}, learning=("B",)), "zeros")


def test_a_backend_without_the_pass_is_not_advised_it(case):
    rows = (content(alike=1, copies=0, zeros=0.95),)
    (advice,) = found(case({"contents": rows}), "zeros", passes_for("jax"))
    assert option(advice) == "--passes template"


def test_a_large_list_of_policies_is_to_be_compact(case):
    row = replace(content("policies", size=700), number_bytes=100)
    made = case({"contents": (row,), "ledger": ledger(policies=700)})
    (advice,) = found(made, "policies")
    assert "70.0%" in advice.finding
    assert option(advice) == "--passes policies"
    assert not found(case({"contents": (row,), "ledger": ledger(policies=10)}), "policies")


def gain(attribute="Agent.prev_actions", size=152.0):
    return GainRow(attribute, size, 20, 32)


def test_a_history_that_grows_is_to_be_bounded(case):
    before = {"gains": (gain(),), "trend": Trend("leak", 160.0, (150.0, 170.0), 4.0, 21, 30)}
    (advice,) = found(case(before), "growth")
    assert "Agent.prev_actions grows by 152 B" in advice.finding
    assert "160 B" in advice.evidence
    assert option(advice) == "--passes history --history-steps 32"
    assert advice.stake_bytes == 152 * 20 * 20
    (advice,) = found(case(before, agent={"inference_horizon": 50}), "growth")
    assert option(advice) == "--passes history --history-steps 51"


def test_a_history_that_no_longer_grows_is_solved_and_one_that_does_is_not(case):
    before = {"gains": (gain(),)}
    (advice,) = found(case(before, [saving("history")], options={"history_steps": 8}), "growth")
    assert advice.solved_by == "history"
    assert "Set --history-steps" not in advice.remedy, "it is set"
    (advice,) = found(case(before, [saving("share")], {"gains": (gain(),)}), "growth")
    assert advice.solved_by == ""
    assert option(advice) == "--passes share,history --history-steps 32"


def test_growth_that_was_not_read_again_is_not_solved(case):
    made = case(
        {"gains": (gain(),)}, [saving("history")], {"instruments": ()}, options={"history_steps": 8}
    )
    assert found(made, "growth")[0].solved_by == ""
    row = replace(saving("history", None, "no_effect"), detail="did nothing here")
    (advice,) = found(case({"gains": (gain(),)}, [row], options={"history_steps": 8}), "growth")
    assert advice.solved_by == "history"
    assert "more than 20 steps" in advice.remedy


def test_what_the_users_own_class_keeps_is_the_users_to_bound(case):
    (advice,) = found(case({"gains": (gain("Forager.log"), gain("Forager.n", 8.0))}), "growth")
    assert "maxlen" in advice.remedy
    assert "--mode steps" in advice.remedy


def test_growth_that_no_attribute_accounts_for_is_said(case):
    trend = Trend("leak", 900.0, (890.0, 910.0), 4.0, 21, 30)
    _, unnamed = sorted(
        found(case({"gains": (gain(),), "trend": trend}), "growth"), key=lambda a: a.stake_bytes
    )
    assert re.findall(r"\d+ B", unnamed.finding) == ["900 B", "152 B"]
    assert "memprof leak" in unnamed.remedy


PLOTTING = (
    ImportRow("seaborn", "pymdp", 2_000, 0.1, 3),
    ImportRow("pandas", "pymdp", 23_000, 0.2, 300),
    ImportRow("numpy", "pymdp", 50_000, 0.2, 300),
    ImportRow("torch", "model", 9_000, 0.2, 300),
)


def test_libraries_for_plots_are_to_load_on_first_use(case):
    (advice,) = found(case({"imports": PLOTTING}), "imports")
    assert (advice.stake_bytes, "plotting libraries" in advice.finding) == (25_000, True)
    assert "pandas 23.0 KB and seaborn 2.00 KB" in advice.evidence
    assert option(advice) == "--passes lean_imports"
    rows = [saving("lean_imports", None, saved_fixed_bytes=24_000.0)]
    after = {"per_agent": cost(1000), "imports": PLOTTING[2:]}
    (advice,) = found(case({"imports": PLOTTING}, rows, after), "imports")
    assert (advice.solved_by, advice.saves_bytes) == ("lean_imports", 24_000.0)
    rows = [saving("lean_imports", -200.0, outcome="costs", saved_fixed_bytes=24_000.0)]
    (advice,) = found(case({"imports": PLOTTING}, rows, after), "imports")
    assert (advice.solved_by, advice.saves_bytes) == ("lean_imports", 24_000.0)
    assert not found(case({"imports": PLOTTING}), "imports", passes_for("jax"))


def test_what_the_users_model_imports_is_the_users(case):
    made = case({"imports": PLOTTING}, model={"kind": "factory"})
    (advice,) = [each for each in found(made, "imports") if "torch" in each.finding]
    assert not advice.solved_by


def test_a_peak_above_what_agents_keep_is_for_pool(case):
    high = {"rss_bytes": 1e8, "peak_bytes": 1.1e8}
    (advice,) = found(case(high), "transient")
    assert option(advice) == "--passes pool"
    assert "build: a peak of 5.00 KB" in advice.evidence
    assert not found(case({**high, "peak_bytes": 1.01e8}), "transient")
    rows = [saving("pool", None, "saves", saved_transient_bytes=9e6)]
    (advice,) = found(case(high, rows, {"per_agent": cost(1000)}), "transient")
    assert (advice.solved_by, advice.saves_bytes) == ("pool", 9e6)


def test_steps_that_are_traced_anew_are_to_be_compiled(case, device):
    trend = Trend("leak", 5e5, (4e5, 6e5), 4.0, 21, 30)
    before = {"device": device(), "trend": trend}
    made = case(before, backend="jax", loop="eager")
    (advice,) = found(made, "retracing", passes_for("jax"))
    assert option(advice) == "--passes jit"
    assert "10.0 MB per step" in advice.evidence
    made = case(before, [saving("jit")], {"device": device(0.0)}, backend="jax", loop="eager")
    (advice,) = found(made, "retracing", passes_for("jax"))
    assert advice.solved_by == "jit"
    assert not found(made, "growth", passes_for("jax"))


def plan(*marginals, ratio=1.0, **fields):
    """Passes after which an agent costs so much."""
    names = ("share", "history", "pool", "template")
    saved = [was - now for was, now in zip((1000.0, *marginals), marginals, strict=False)]
    return [
        replace(
            saving(name, by, marginal_bytes=now, ci95_bytes=(now * 0.9, now * 1.1)),
            step_time_ratio=ratio,
            **fields,
        )
        for name, by, now in zip(names, saved, marginals, strict=False)
    ]


@pytest.mark.parametrize(
    ("rows", "limit", "apply"),
    [
        ((60.0, 55.0, 50.0), None, ["share", "history"]),
        ((50.2, 50.1, 50.0), None, ["share"]),
        ((50.2, 50.1, 50.0), 50, ["share", "history", "pool"]),
    ],
)
def test_advice_and_what_to_do_next_name_the_same_passes(case, rows, limit, apply):
    gain = GainRow("Agent.prev_actions", 136.0, 10, 20)
    before = {"imports": PLOTTING, "gains": (gain,)}
    made = case(before, plan(*rows))
    if limit is not None:
        made = replace(made, budget=BudgetCheck(limit, 50.0, True))
    made = replace(made, advice=advise(made, OFFERED))
    assert next_step(made).code.endswith(f"passes={json.dumps(apply)})")
    options = [
        (found[1] or found[2]).replace(" ", "")
        for each in made.advice
        for found in re.finditer(r"--passes (\S+)|passes: \[(.*?)\]", each.remedy)
    ]
    assert options, "there is advice that names passes"
    for each in options:
        assert {*apply} < {*each.split(",")}


def test_the_screen_and_the_page_count_the_same_advice(case):
    gain = GainRow("Agent.prev_actions", 136.0, 10, 20)
    before = {"gains": (gain,), "contents": (content(), content("A", alike=19, copies=18))}
    before |= {"imports": PLOTTING, "per_agent": cost(1000, fixed=1e5)}
    made = case(before, plan(60.0, 55.0, 50.0), {"per_agent": cost(50, fixed=1e5)})
    made = replace(made, advice=advise(made, OFFERED))
    assert len(made.advice) > 3
    screen = terminal.render_brief(profile_view(made), width=80, color=False)
    (whole,) = [each for each in profile_view(made).sections if each.title == "Advice"]
    assert f"Advice (3 of {len(made.advice)})" in screen
    assert len(whole.tables[0].rows) == len(made.advice)


def test_a_pass_that_costs_more_time_than_it_saves_is_named(case):
    rows = plan(500.0, 495.0, 50.0)
    slow = [rows[0], replace(rows[1], step_time_ratio=1.5), rows[2]]
    (advice,) = found(case(rows=slow), "slow_pass")
    assert advice.finding.startswith("history ")
    assert option(advice) == "--passes share,pool"
    assert not found(case(rows=rows), "slow_pass")


def test_a_slow_pass_that_the_budget_takes_is_not_advised_against(case):
    """What to do next had told to apply all three, since only so the budget is kept."""
    rows = plan(13.0, 12.0, 5.0)
    slow = [*rows[:-1], replace(rows[-1], step_time_ratio=1.7)]
    made = case(rows=slow, after={"per_agent": cost(5)})
    for limit, advised in ((100, ()), (8, made.variants.after.passes)):
        report = replace(made, budget=BudgetCheck(limit, 5.0, True))
        assert recommended(report).passes == (advised or ("share",))
        assert "slow_pass" not in [each.kind for each in advise(report, OFFERED)]


def test_agents_that_take_next_to_nothing_are_said_to(case):
    small = {"per_agent": cost(1000, fixed=1e8)}
    (advice,) = found(case(small), "few_agents")
    assert "20 agents take 20.0 KB" in advice.evidence
    (advice,) = found(case({"per_agent": cost(1000, fixed=1e8, resolved=False)}), "few_agents")
    assert "at most 20.2 KB" in advice.evidence


def test_what_is_open_comes_first_and_what_weighs_most_of_that(case):
    before = {"contents": (content(),), "gains": (gain(),), "imports": PLOTTING}
    kinds = [each.kind for each in advise(case(before, [saving("share")]), OFFERED)]
    assert kinds == ["growth", "imports", "alike"]
    kinds = [each.kind for each in advise(case(before), OFFERED)]
    assert kinds == ["growth", "imports", "alike"]


def test_every_kind_of_advice_reads_as_it_did(case, device, snapshot):
    grown = Trend("leak", 900.0, (890.0, 910.0), 4.0, 21, 30)
    open_ones = {
        "contents": (
            content(zeros=0.95),
            content("A", 1, 0, 0.95),
            replace(content("policies", size=700), number_bytes=100),
            ContentRow("D", 20, 1, 0, 40_000, 400, 0.9, pinned_bytes=39_000),
        ),
        "ledger": ledger(A=300, B=B_BYTES, D=400, policies=700),
        "gains": (gain(), gain("Forager.log")),
        "imports": PLOTTING,
        "trend": grown,
    }
    high = {"rss_bytes": 1e8, "peak_bytes": 1.1e8}
    slow = plan(500.0, 495.0, 52.0, 50.0)
    slow[1] = replace(slow[1], step_time_ratio=1.5)
    lean = saving("lean_imports", None, saved_fixed_bytes=24_000.0)
    unproved = replace(saving("share", outcome="diverged"), detail="agents do something else")
    fixing = [*map(saving, ("share", "sparse", "history")), lean]
    traced = {"device": device(), "trend": grown}
    scenes = {
        "open": case(open_ones, model={"kind": "factory"}),
        "fixed": case(open_ones, fixing, {"gains": (gain(size=2.0),), "imports": PLOTTING[2:]}),
        "unproved": case({"contents": (content(),)}, [unproved], verdict="not_checked"),
        "peak": case(high),
        "peak, fixed": case(high, [saving("pool", None, saved_transient_bytes=9e6)]),
        "plan": case(rows=slow),
        "few": case({"per_agent": cost(1000, fixed=1e8, resolved=False)}),
        "traced": case(traced, backend="jax", loop="eager"),
        "traced, fixed": case(traced, [saving("jit")], {"device": device(0.0)}, backend="jax"),
    }
    text = []
    for name, made in scenes.items():
        text.append(f"# {name}\n")
        for each in advise(made, passes_for(made.scenario.backend)):
            text += [
                each.kind,
                *(f"    {said}" for said in (each.finding, each.evidence, each.remedy)),
            ]
        text.append("")
    snapshot("advice", "\n".join(text))


def test_it_stands_below_the_passes_and_commands_nobody(case):
    advice = Advice("growth", "a | b", "[red]\x1b[31m*bold*", "`code`\n# no heading")
    made = replace(case(rows=[saving("share")]), advice=(advice,))
    view = profile_view(made)
    titles = [section.title for section in view.sections]
    assert titles[:3] == ["Before and after", "Passes", "Advice"]
    text = terminal.render(view, width=80, color=False)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    page = markdown.render_view(view)
    assert "\n# no heading" not in page
    assert "a \\| b" in page
    assert "Advice" not in [section.title for section in profile_view(case()).sections]
