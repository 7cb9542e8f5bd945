"""What the README shows is what the program does."""

import re

import pytest
import yaml

from memprof.scenario import load_scenario
from tests import examples
from tests.conftest import ROOT, SCENARIOS

README = (ROOT / "README.md").read_text()
DOCS = {page.stem: page.read_text() for page in (ROOT / "docs").glob("*.md")}


@pytest.mark.parametrize(
    "text",
    [
        text
        for page in (README, DOCS["scenarios"], DOCS["agents"], DOCS["jax"])
        for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    ],
)
def test_its_scenarios_are_valid(tmp_path, text):
    path = tmp_path / "case.yaml"
    path.write_text(text)
    assert load_scenario(path).scenario.passes in (
        ["share"],
        ["share", "pool", "template"],
        ["share", "template"],
        ["share", "history", "template"],
    )


def test_it_can_be_read_to_its_end():
    assert len(README.splitlines()) <= 250


def test_a_page_names_every_shipped_scenario():
    assert all(f"`{path.stem}`" in DOCS["scenarios"] for path in SCENARIOS.glob("*.yaml"))


def test_its_factories_are_sound_models():
    from memprof.models import check_model

    for page in (README, DOCS["agents"]):
        names = {}
        exec(re.search(r"```python\n(# my_agents.*?)```", page, re.DOTALL)[1], names)  # our own
        check_model(names["make"](size=4, agent=0), "model")
    source = re.search(
        r"```python\n(from pymdp.legacy.agent import Agent\n.*?)```", DOCS["agents"], re.DOTALL
    )
    exec(source[1], names)
    assert names["make_agent"](size=4, agent=0).memory.shape == (4, 4)


@pytest.mark.parametrize("file", ["docs/leaks.md"])
def test_the_leak_that_is_shown_is_that_of_the_committed_example(file):
    text = (ROOT / file).read_text()
    shown = text[text.index("\nprev-actions: ") :]
    shown = shown[: shown.index("```")]
    example = (ROOT / "reports" / "examples" / "prev-actions-leak-steps.md").read_text()
    figures = re.findall(
        r"\d[\d.]* (?:MB|KB|B)\b", shown[: shown.index("┤")] + shown.split("┬")[-1]
    )
    assert len(figures) > 15
    assert set(figures) <= set(re.findall(r"\d[\d.]* (?:MB|KB|B)\b", example))


@pytest.mark.parametrize("name", ["grid-29", "simulation-run"])
def test_its_report_is_that_of_the_committed_example(name):
    assert f"```\n{examples.screen(name)}\n\nWritten: reports/{name}." in README


def test_its_kinds_are_those_that_ship():
    """In eight lines."""
    shown = re.search(r"```yaml\n(name: savanna\n.*?)```", README, re.DOTALL)[1]
    shipped = yaml.safe_load((SCENARIOS / "savanna.yaml").read_text())
    del shipped["description"]
    assert yaml.safe_load(shown) == shipped
    assert len(shown.splitlines()) == 8


def test_its_first_script_is_the_one_that_ships():
    script = (SCENARIOS / "simulation.py").read_text()
    assert f"```python\n{script}```" in README
    assert len(script.splitlines()) == 20


def test_the_million_that_is_shown_is_that_of_the_committed_example():
    shown = DOCS["density"][DOCS["density"].index("\ngrid-10: ") :]
    shown = shown[: shown.index("```")]
    example = (ROOT / "reports" / "examples" / "grid-10-density.md").read_text()
    figures = re.findall(r"\d[\d.,]* (?:GB|MB|KB|B|ms|µs)\b|\d+(?:,\d{3})+", shown)
    assert len(figures) > 50
    assert set(figures) <= set(
        re.findall(r"\d[\d.,]* (?:GB|MB|KB|B|ms|µs)\b|\d+(?:,\d{3})+", example)
    )
