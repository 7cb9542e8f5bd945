"""What the pages of docs/ list is what there is, and their links lead somewhere."""

import re

import pytest

from memprof.catalogue.instruments import INSTRUMENTS
from memprof.catalogue.passes import PASSES
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchor(heading):
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target, _, place in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", text):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        if place:
            assert place in map(anchor, re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE))


def test_the_readme_leads_to_every_page():
    index = PAGES[0].read_text().partition("## Documentation")[2]
    assert [page.name for page in PAGES[1:] if f"](docs/{page.name})" not in index] == []


def test_the_passes_are_listed_with_their_claims():
    text = (ROOT / "docs" / "passes.md").read_text()
    rows = dict(
        re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text.partition("## What")[0], re.MULTILINE)
    )
    forms = {name: info.forms["numpy"] for name, info in PASSES.items() if "numpy" in info.forms}
    assert {*rows} == {*forms}
    for name, form in forms.items():
        claim = "exact" if form.bound is None else f"bounded, {form.bound:g}".replace("e-0", "e-")
        assert rows[name] == claim
        assert f"\n**`{name}`** ({claim.partition(',')[0]}" in text


def test_the_jax_passes_are_listed():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "jax.md").read_text(), re.MULTILINE)
    assert {name for name, info in PASSES.items() if "jax" in info.forms} <= {*rows}


def test_the_instruments_are_listed():
    text = (ROOT / "docs" / "reports.md").read_text().partition("**Instruments.**")[2]
    rows = re.findall(r"^\| (\w+)(?: \(USS\))? \| ", text.partition("\n**")[0], re.MULTILINE)
    assert {name for name in INSTRUMENTS if not INSTRUMENTS.origin(name)} == {*rows[1:]}
