"""What installed packages add by entry points: models, passes, instruments, formats, backends."""

import os

import pytest

CODE = """
from typing import ClassVar, Literal

from memprof.catalogue.backends import Backend
from memprof.catalogue.formats import Format
from memprof.catalogue.instruments import InstrumentInfo
from memprof.catalogue.models import Model
from memprof.catalogue.passes import PassForm, PassInfo


class Corridor(Model):
    '''A grid of one's own.'''

    builder: ClassVar[str] = "memprof.models.built_in:grid_world"
    kind: Literal["corridor"]
    size: int = 3
    inductive: bool = False


FORM = PassForm("does nothing", "nothing", "memprof.optimise:Pass")
NOTHING = PassInfo("nothing", {"numpy": FORM})
SHARE = PassInfo("share", NOTHING.forms)
LINES = Format("lines", ".lines", "how long a report is", "others:lines")
FAILS = Format("fails", ".fails", "fails", "others:fails")
TAKEN = Format("taken", ".json", "in place of the JSON", "others:lines")
TWIN = InstrumentInfo("twin", "a twin", "nothing", "everything", target="others:twin")


def lines(report):
    return str(len(str(report)))


def fails(report):
    raise RuntimeError("not today")
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put packages of these names, with entry points by group, where Python finds packages."""

    def install(**packages):
        site = tmp_path / "site"
        site.mkdir()
        (site / "others.py").write_text(CODE)
        for name, groups in packages.items():
            folder = site / f"{name}-1.0.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            text = "".join(
                f"[memprof.{group}]\n" + "".join(f"{entry}\n" for entry in entries)
                for group, entries in groups.items()
            )
            (folder / "entry_points.txt").write_text(text)
        paths = f"{site}{os.pathsep}{os.environ['PYTHONPATH']}"
        monkeypatch.setenv("PYTHONPATH", paths)

    return install


def test_a_model_a_pass_and_a_format_are_used_like_ours(memprof, scenario, installed):
    installed(
        kit={
            "models": ["corridor = others:Corridor"],
            "passes": ["nothing = others:NOTHING"],
            "formats": ["lines = others:LINES"],
        }
    )
    run = memprof("profile", scenario(model={"kind": "corridor"}, passes=["nothing"]))
    assert run.code == 0, run.err
    report = run.report()
    assert report["scenario"]["model"]["kind"] == "corridor"
    assert report["equivalence"]["verdict"] == "exact"
    assert (run.folder / "reports" / "case.lines").read_text().isdigit()


UNUSABLE = {
    "models": [("corridor = others:lines", "expected Model, found <function lines")],
    "passes": [
        ("lost = missing:PASS", "cannot be used: ModuleNotFoundError"),
        ("share = others:SHARE", "cannot be used: memprof already uses this name"),
        ("other = others:NOTHING", "its own name is 'nothing'; use the same name for both"),
        ("nothing = others:LINES", "expected PassInfo, found Format("),
    ],
    "instruments": [("twin = others:TWIN", "cannot be used: twins already uses this name")],
    "formats": [("taken = others:TAKEN", "'.json' is taken; choose another")],
}


def test_what_cannot_be_used_is_named_with_its_package_and_breaks_nothing_else(
    memprof, fake, installed
):
    kit = {group: [entry for entry, _ in entries] for group, entries in UNUSABLE.items()}
    kit["backends"] = ["numpy = others:BACKEND"]
    installed(kit=kit, twins={"instruments": ["twin = others:TWIN"]})
    for group, entries in UNUSABLE.items():
        run = memprof(group)
        assert run.code == 2
        for entry, words in entries:
            problem = f"memprof.{group}: '{entry.split()[0]}' of the package kit "
            (line,) = [each for each in run.err.splitlines() if problem in each]
            assert words in line
        assert "memprof-fake" in run.out or "markdown" in run.out
    asked = {"passes": ["fake-half"], "instruments": ["fake"]}
    assert memprof("profile", fake(**asked), "--quiet").code == 0


def test_one_that_cannot_be_used_and_is_asked_for_says_why(memprof, scenario, installed):
    lost = ["lost = missing:LOST"]
    installed(kit=dict.fromkeys(("models", "passes", "instruments", "formats", "backends"), lost))
    for fields in (
        {"model": {"kind": "lost"}},
        {"passes": ["lost"]},
        {"instruments": ["lost"]},
        {"backend": "lost"},
    ):
        run = memprof("profile", scenario(**fields))
        assert run.code == 2
        assert "'lost' of the package kit cannot be used: ModuleNotFoundError" in run.err


def test_a_format_that_fails_is_named_and_the_others_are_written(memprof, fake, installed):
    installed(kit={"formats": ["fails = others:FAILS", "lines = others:LINES"]})
    run = memprof("profile", fake())
    assert run.code == 3
    assert "the format fails of the package kit failed: RuntimeError: not today" in run.err
    assert {".json", ".md", ".lines"} <= {
        each.suffix for each in (run.folder / "reports").iterdir()
    }
    assert memprof("report", "reports/case.json", "--format", "lines").out.isdigit()
