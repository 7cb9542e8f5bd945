"""`memprof init`: what it writes, and that it never writes over anything."""

import re
import shlex
from importlib import metadata

import pytest
import yaml

from memprof.cli.init import template
from memprof.gate.differences import DECISIVE
from memprof.scenario import load_scenario
from memprof.scenario.schema import Scenario
from memprof.values.gate import DEFAULTS, parse_tolerance

STARTER = "scenarios/starter.yaml"
REQUIREMENTS = "scenarios/requirements.txt"
WORKFLOW = ".github/workflows/memprof.yml"


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_it_writes_a_starter_scenario(memprof):
    run = memprof("init")
    assert (run.code, run.err) == (0, "")
    assert files_in(run.folder) == {STARTER, REQUIREMENTS}
    assert run.out.startswith(f"Written: {STARTER}, {REQUIREMENTS}\n")
    assert (run.folder / STARTER).read_text() == template("starter.yaml")


def test_the_starter_is_a_small_scenario_of_real_agents_with_a_budget(memprof):
    loaded = load_scenario(memprof("init").folder / STARTER)
    scenario = loaded.scenario
    assert (scenario.name, scenario.backend) == ("starter", "numpy")
    assert scenario.budget is not None
    assert scenario.agents * scenario.steps <= 100


def test_the_starter_shows_the_default_tolerances():
    shown = yaml.safe_load(template("starter.yaml"))["tolerances"]
    assert {name: parse_tolerance(name, text) for name, text in shown.items()} == {
        name: DEFAULTS[name] for name in shown
    }


def test_every_field_of_the_starter_says_what_it_is_for():
    for field in set(Scenario.model_fields) & set(yaml.safe_load(template("starter.yaml"))):
        before = re.search(rf"^(.*)\n{field}:(.*)$", template("starter.yaml"), re.MULTILINE)
        assert "#" in before[1] + before[2] or field == "description"


def test_the_requirements_are_the_releases_that_figures_depend_on(memprof):
    text = (memprof("init").folder / REQUIREMENTS).read_text()
    assert text.startswith("# ")
    pins = dict(line.split("==") for line in text.splitlines()[1:])
    assert set(pins) == set(DECISIVE)
    assert all(metadata.version(name) == version for name, version in pins.items())


def test_its_next_steps_are_commands(memprof):
    out = memprof("init", "my project").out
    commands = [shlex.split(line, comments=True) for line in out.partition("Next:")[2].splitlines()]
    assert [each[:2] for each in commands if each] == [
        ["cd", "my project"],
        ["memprof", "profile"],
        ["memprof", "gate"],
        ["git", "add"],
        ["git", "commit"],
        ["memprof", "gate"],
    ]


def test_github_adds_the_workflow_and_says_where_the_baseline_is_made(memprof):
    run = memprof("init", "new/folder", "--github")
    assert run.code == 0, run.err
    assert files_in(run.folder / "new/folder") == {STARTER, REQUIREMENTS, WORKFLOW}
    assert (run.folder / "new/folder" / WORKFLOW).read_text() == template("github.yml")
    assert "gh workflow run memprof.yml" in run.out
    assert "--update" not in run.out  # a baseline of this machine would be refused there


def test_it_never_overwrites_unless_forced(memprof, tmp_path):
    (tmp_path / "scenarios").mkdir()
    (tmp_path / STARTER).write_text("mine")
    (tmp_path / REQUIREMENTS).write_text("mine")
    run = memprof("init")
    assert run.code == 2
    assert run.err == (
        f"memprof: already exists: {STARTER}, {REQUIREMENTS}; nothing was written, --force "
        "overwrites\n"
    )
    run = memprof("init", ".", "--github")  # the natural thing to do after init
    assert run.code == 0
    assert f"Kept: {STARTER}, {REQUIREMENTS}" in run.out
    assert (tmp_path / STARTER).read_text() == (tmp_path / REQUIREMENTS).read_text() == "mine"
    assert (tmp_path / WORKFLOW).read_text() == template("github.yml")
    assert memprof("init", ".", "--github", "--force").code == 0
    assert (tmp_path / STARTER).read_text() == template("starter.yaml")
    assert (tmp_path / WORKFLOW).read_text() == template("github.yml")


def test_a_link_that_leads_nowhere_is_in_the_way_too(memprof, tmp_path):
    (tmp_path / "scenarios").mkdir()
    (tmp_path / STARTER).symlink_to("gone.yaml")
    run = memprof("init")
    assert (run.code, f"Kept: {STARTER}" in run.out) == (0, True)
    assert not (tmp_path / "scenarios/gone.yaml").exists()


def test_a_folder_that_is_there_is_used(memprof, tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "setup.py").write_text("")
    assert memprof("init", "project").code == 0
    assert files_in(tmp_path / "project") == {"setup.py", STARTER, REQUIREMENTS}


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("file", "DIR: expected a folder, found the file file"),
        ("file/below", "cannot write file/below/scenarios/starter.yaml: Not a directory"),
        ("/proc/memprof", "cannot write /proc/memprof/scenarios/starter.yaml"),
        ("taken", "cannot write taken/scenarios/starter.yaml"),
    ],
)
def test_a_folder_that_cannot_be_used_is_an_error(memprof, tmp_path, folder, words):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "scenarios").write_text("mine")
    run = memprof("init", folder)
    assert run.code == 2
    assert run.err.startswith(f"memprof: {words}")
    assert run.err.count("\n") == 1
    assert files_in(tmp_path) == {"file", "taken/scenarios"}


def test_a_read_only_folder_is_an_error(memprof, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        (folder / "probe").touch()
        pytest.skip("this user may write into read-only folders")
    except PermissionError:
        run = memprof("init", folder)
    finally:
        folder.chmod(0o700)
    assert run.code == 2
    assert f"cannot write {folder}/{STARTER}: Permission denied" in run.err
    assert files_in(folder) == set()


def test_a_folders_name_is_text(memprof):
    run = memprof("init", "a\x1b[31m\u202e\n::error::b", GITHUB_ACTIONS="true")
    assert run.code == 0
    first, *lines, last = run.out.splitlines()
    assert last == f"::{first.removeprefix('::stop-commands::')}::"
    assert lines[0].startswith("Written: a\ufffd[31m\ufffd ::error::b/scenarios/starter.yaml")
    assert "\x1b" not in run.out
