"""The one thing to do next, on scripted reports."""

import pytest
from msgspec.structs import replace

from memprof.profile.next_step import next_step
from memprof.render import Next, View, markdown, terminal
from memprof.values.profile import PassResult
from memprof.values.report import BudgetCheck, Variants

AUTO = "memprof profile SCENARIO --passes auto"


def row(name, marginal, saved=100.0, outcome="saves", **fields):
    return PassResult(
        name, "exact", saved, 1.0, outcome, f"{name} in words",
        marginal_bytes=marginal, ci95_bytes=(0.9 * marginal, 1.1 * marginal), **fields,
    )  # fmt: skip


@pytest.fixture
def case(report, good_variant):
    """From 1,000 bytes per agent to that of the last of some passes; no budget unless given."""

    def make(*rows, verdict="exact", limit=None, **scenario):
        final = rows[-1].marginal_bytes if rows else 1000.0
        after = good_variant(final, passes=tuple(each.name for each in rows))
        made = report(verdict, after=after)
        budget = None if limit is None else BudgetCheck(limit, final, final <= limit)
        names = tuple(each.name for each in rows)
        scenario = replace(made.scenario, **{"passes": names, **scenario})
        return replace(made, scenario=scenario, passes=rows, budget=budget)

    return make


def test_the_pass_that_gives_almost_all_is_to_be_applied(case):
    found = next_step(case(row("share", 15.0), row("pool", 14.0), row("template", 10.0)))
    assert found.text == "share alone gives 99.4% of this; apply it with these two lines:"
    assert found.code == (
        'from memprof import optimize\npopulation = optimize(agents, passes=["share"])'
    )


def test_passes_that_are_needed_together_are_applied_together(case):
    found = next_step(case(row("share", 500.0), row("template", 15.0), row("gc", 14.0)))
    assert found.text.startswith("share and template give 99.8% of this; apply them")
    assert found.code.endswith('optimize(agents, passes=["share", "template"])')
    found = next_step(case(row("share", 10.0)))
    assert found.text.startswith("share gives all of this; apply it")


def test_the_budget_decides_how_much_of_the_plan_is_needed(case):
    rows = row("share", 15.0), row("template", 10.0)
    assert next_step(case(*rows, limit=16)).text.startswith("share alone gives")
    found = next_step(case(*rows, limit=12))
    assert found.text.startswith(
        "share alone gives 99.4% of this, and share and template stay within the budget; apply"
    )
    assert '["share", "template"]' in found.code


def test_options_of_the_scenario_come_along_and_long_lines_are_broken(case):
    rows = row("history", 500.0), row("template", 400.0), row("working_set", 10.0)
    found = next_step(
        case(*rows, options={"history_steps": 8, "keep": ("qs", "action"), "working_set": 1048576})
    )
    assert found.code == (
        "from memprof import optimize\n"
        "population = optimize(\n"
        "    agents,\n"
        '    passes=["history", "template", "working_set"],\n'
        "    history_steps=8,\n"
        '    keep=["qs", "action"],\n'
        "    working_set=1048576,\n"
        ")"
    )
    found = next_step(case(row("share", 10.0), row("history", 9.9), options={"history_steps": 8}))
    assert "history_steps" not in found.code, "without the pass it would be refused"


def test_what_acts_before_pymdp_is_imported_is_for_the_scenario(case):
    found = next_step(case(row("lean_imports", 1000.0), row("share", 10.0)))
    assert "lean_imports and share give all of this." in found.text
    assert (
        "lean_imports acts before PyMDP is imported, so it works only in a scenario" in found.text
    )
    assert found.code.endswith('passes=["share"])')


def test_jax_agents_have_the_scenarios_line(case):
    found = next_step(case(row("share", 10.0), row("template", 9.9), backend="jax"))
    assert found.text == "share alone gives 99.98% of this; with it, in the scenario:"
    assert found.code == "passes: [share]"


def test_without_passes_auto_is_to_find_some(report):
    made = report()
    made = replace(
        made, variants=Variants(made.variants.before, None), passes=(), budget=None,
        scenario=replace(made.scenario, passes=()),
    )  # fmt: skip
    assert next_step(made) == Next("Let memprof find the passes that help this scenario:", AUTO)
    broken = replace(made, budget=BudgetCheck(500, 1000.0, False))
    assert next_step(broken).text.startswith("The budget is exceeded. Let memprof find")


@pytest.mark.parametrize(
    ("file", "named"),
    [("runs/foragers.yaml", "runs/foragers.yaml"), ("my runs/a.yaml", "'my runs/a.yaml'")],
)
def test_commands_name_the_users_own_scenario(case, file, named):
    made = replace(case(row("share", 100.0), limit=50), file=file)
    assert next_step(made).code == f"memprof profile {named} --passes auto"
    assert "SCENARIO" not in markdown.render(made)


def test_a_run_that_was_cut_short_points_at_no_place_on_the_screen(case):
    found = next_step(replace(case(row("share", 10.0)), complete=False))
    assert found.text.startswith("Run it again: this run was cut short")
    assert "below" not in found.text


def test_a_pass_that_breaks_its_claim_is_to_be_left_out(case):
    rows = row("share", 15.0), row("float32", 12.0, outcome="diverged"), row("template", 10.0)
    found = next_step(case(*rows, verdict="diverged"))
    assert found.text.startswith("Leave out float32: agents behave differently with it.")
    assert found.code == "passes: [share, template]"


def test_what_cannot_be_compared_is_to_be_made_comparable(case):
    found = next_step(case(row("share", 10.0), verdict="not_checked"))
    assert "np.random" in found.text
    assert not found.code


def test_a_broken_budget_is_for_auto_and_after_that_for_the_model(case):
    found = next_step(case(row("share", 100.0), limit=50))
    assert (found.text[:31], found.code) == ("The budget of 50 B is exceeded.", AUTO)
    found = next_step(case(row("share", 100.0), limit=50, passes=("auto",)))
    assert "The largest part of an agent is A, 900 B" in found.text
    assert not found.code


def test_what_an_agent_holds_most_of_is_read_after_the_passes(case):
    """It is their population that breaks the budget."""
    made = case(row("share", 100.0), limit=50, passes=("auto",))
    before, after = made.variants.before, made.variants.after
    rows = tuple(replace(each, component="what is left") for each in after.ledger.rows)
    after = replace(after, ledger=replace(after.ledger, rows=rows))
    found = next_step(replace(made, variants=Variants(before, after)))
    assert "The largest part of an agent is what is left, 900 B" in found.text


def test_where_nothing_helps_there_is_nothing_to_apply(case):
    found = next_step(case(passes=("auto",)))
    assert found == Next("There is nothing to apply: no pass helps here.")
    found = next_step(case(row("share", 999.0, saved=None, outcome="no_effect")))
    assert found == Next("There is nothing to apply: no saving per agent is certain here.")


def test_what_helps_the_process_alone_is_for_the_scenario(case):
    found = next_step(case(row("lean_imports", 1000.0, None, saved_fixed_bytes=1e8)))
    assert "lean_imports: lean_imports in words" in found.text
    assert found.code == "passes: [lean_imports]"


def test_what_was_cut_short_is_to_be_run_again(case):
    assert next_step(replace(case(row("share", 10.0)), complete=False)).text.startswith("Run it")


def test_it_stands_right_below_the_headline_and_is_no_markup():
    evil = Next("do *this* [red]now[/]\x1b[2J", "a = [1]\n```\n# heading\x1b[2J" + "x" * 100)
    view = View("title", "headline", (), next=evil)
    text = terminal.render(view, width=80, color=False)
    assert text.splitlines()[2:6] == [
        "headline",
        "do *this* [red]now[/]\ufffd[2J",
        "    a = [1]",
        "    ```",
    ]
    assert "\x1b" not in text
    assert "x" * 100 in text, "code is not wrapped"
    page = markdown.render_view(view)
    assert "\n\ndo \\*this\\* \\[red\\]now\\[/\\]" in page
    assert "\n````\na = [1]\n```\n# heading" in page
    assert page.rstrip().endswith("````")


def test_a_view_with_nothing_to_do_has_no_such_line():
    view = View("title", "headline", ())
    assert terminal.render(view, width=80, color=False).splitlines()[1:] == ["title", "headline"]
    assert markdown.render_view(view) == "# title\n\n**headline**\n"


def test_passes_that_were_not_told_apart_are_applied_as_a_whole(case):
    whole = case(row("share", 15.0), row("template", 10.0))
    found = next_step(replace(whole, passes=()))
    assert found.text.startswith("share and template give all of this")
