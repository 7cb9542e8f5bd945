PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# Others than CI's, as far as they are here and start; `make pythons PYTHONS="/path/to/one ..."`.
PYTHONS ?= $(foreach version,3.12 3.13,$(shell python$(version) -c 'import sys; print(sys.executable)' 2>/dev/null))
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start hundreds of processes that import the package.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install profile test check fast screenshots snapshots bench examples scenarios figures predict alarms million \
  equivalence soak fuzz ray worlds upstream notebooks random-jax versions suite times pythons clean

help:
	@echo "make profile    install memprof into $(VENV) and profile scenarios/grid-29.yaml (a minute)"
	@echo "make test       install what the tests need and run all of them, checks included"
	@echo "make pythons    all tests under Python 3.12 and 3.13 too, where they are installed (PYTHONS=...)"
	@echo "make check      ruff, mypy and the import contract"
	@echo "make fast       the tests that need no PyMDP (seconds)"
	@echo "make screenshots  every kind of report in Chromium, for a person to look at (a minute)"
	@echo "make snapshots  tests/snapshots anew, after a change of what reports say (seconds)"
	@echo "make times      what is held to a clock: commands, optimising, threads (5 minutes, machine idle)"
	@echo "make bench      the clean worker against a bare loop, and where a profile's time goes (4 minutes)"
	@echo "make examples   reports/examples anew, and what README and docs show of them (five minutes)"
	@echo "make scenarios  every shipped scenario in full (an hour)"
	@echo "make figures      what the passes have to reach, measured (an hour)"
	@echo "make predict      what JAX agents take, predicted from shapes and measured (an hour)"
	@echo "make equivalence  every pass alone and all together, on every scenario (an hour)"
	@echo "make million          a million agents alive at once, each stepped (quarter of an hour)"
	@echo "make alarms       what the gate catches, and its false alarms (two hours)"
	@echo "make versions     memprof beside every PyMDP that it works with (half an hour), VERSIONS=..."
	@echo "make upstream PYMDP=PATH  PyMDP's own legacy tests, every agent put to rest after each call"
	@echo "make worlds       JAX agents in every kind of PyMDP's worlds against PyMDP's rollout (5 minutes)"
	@echo "make notebooks PYMDP=PATH  PyMDP's own notebooks under memprof run; their agents, plain and under share and template (two hours)"
	@echo "make random-jax   300 random JAX agents against PyMDP's own, in all forms of its arguments (an hour)"
	@echo "make soak         false alarms and the floor of memprof leak, and its verdicts in 30 environments (three hours)"
	@echo "make ray          what tests of clusters take long for: kills, full stores, JAX (two minutes)"
	@echo "make fuzz         hostile scenarios, reports, archives, stores; quirks; random agents, values (an hour)"

install: $(VENV)/.installed

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "memprof needs Python 3.11, 3.12 or 3.13; set PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

profile: $(VENV)/.installed
	$(BIN)/memprof profile scenarios/grid-29.yaml

check: $(VENV)/.tested
	$(BIN)/ruff format --check memprof tests scenarios
	$(BIN)/ruff check memprof tests scenarios
	$(BIN)/mypy
	$(BIN)/lint-imports

# The object graph of a process that has imported PyMDP is large, and the unit tests walk it.
# The tests of a file share its costly fixtures, so one process runs them all. Figures of a few
# kilobytes of a process have the machine to themselves. What fails in one part hides nothing of the
# others.
ABREAST := $(BIN)/pytest -m "not serial and not long" --dist loadfile --no-loadscope-reorder

test: $(VENV)/.tested
	@$(MAKE) --no-print-directory check > $(VENV)/checks 2>&1 & checks=$$!; failed=0; \
	$(MAKE) --no-print-directory suite || failed=1; \
	wait $$checks || failed=1; \
	cat $(VENV)/checks; \
	exit $$failed

suite: $(VENV)/.tested
	@failed=0; \
	set -x; \
	$(ABREAST) -n 3 tests/cli tests/faults tests/unit tests/browser || failed=1; \
	$(ABREAST) -n 3 tests/accuracy tests/integration || failed=1; \
	$(BIN)/pytest -m serial $$(grep -rl mark.serial tests --include='test_*.py') || failed=1; \
	exit $$failed

# Nothing here is compared with a clock: that takes a machine that has nothing else to do.
times: $(VENV)/.tested
	$(BIN)/pytest -s tests/times/*.py
	$(BIN)/python -m tests.first_minute

# Each in an environment of its own; names, types and style are checked once, under CI's Python.
pythons:
	@test -n "$(strip $(PYTHONS))" || { echo "No Python 3.12 or 3.13 here; set PYTHONS=/path/to/one"; exit 1; }
	@set -e; for python in $(PYTHONS); do \
	  $$python --version; \
	  name=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  $(MAKE) --no-print-directory suite PYTHON=$$python VENV=.venv-$$name; \
	done

fast: $(VENV)/.tested
	$(BIN)/pytest tests/unit tests/cli

screenshots: $(VENV)/.tested
	$(BIN)/pytest tests/browser -k whole
	@echo "Written: reports/screenshots/"

snapshots: $(VENV)/.tested
	UPDATE_SNAPSHOTS=1 $(BIN)/pytest tests/unit/test_snapshots.py tests/unit/test_advice.py \
	  tests/unit/test_analysis.py
	git diff --stat tests/snapshots

bench: $(VENV)/.installed
	$(BIN)/python -m tests.bench reports/bench.json

examples: $(VENV)/.tested
	$(BIN)/python -m tests.examples

scenarios: $(VENV)/.installed
	@set -e; for file in scenarios/*.yaml; do $(BIN)/memprof profile $$file; done

figures: $(VENV)/.tested
	$(BIN)/python -m tests.figures
	$(BIN)/python -m tests.figures_jax
	$(BIN)/python -m tests.figures_density
	$(BIN)/python -m tests.figures_default
	$(BIN)/python -m tests.figures_mixtures
	$(BIN)/python -m tests.figures_kinds
	$(BIN)/python -m tests.figures_meet
	$(BIN)/python -m tests.figures_act
	$(BIN)/python -m tests.figures_ray
	$(BIN)/python -m tests.figures_jax_population

predict: $(VENV)/.tested
	$(BIN)/python -m tests.predictions

equivalence: $(VENV)/.tested
	$(BIN)/python -m tests.equivalence

alarms: $(VENV)/.tested
	$(BIN)/python -m tests.figures_gate

million: $(VENV)/.installed
	$(BIN)/memprof density scenarios/grid-10.yaml --agents 1000000 --steps 1 --passes history,pool,batch --repeats 1

soak: $(VENV)/.tested
	$(BIN)/python -m tests.soak
	$(BIN)/python -m tests.figures_environments

fuzz: $(VENV)/.tested
	$(BIN)/python -m tests.fuzz_stores
	$(BIN)/python -m tests.fuzz_input
	$(BIN)/python -m tests.quirks
	$(BIN)/python -m tests.property_agents --count 1000
	$(BIN)/pytest --hypothesis-profile long $$(grep -rl 'import.* given' tests/unit --include='test_*.py')

# With the short ones in `make test`, all that is said of clusters that break.
ray: $(VENV)/.tested
	$(BIN)/pytest -m long $$(grep -rl mark.long tests --include='test_*.py')

# Each in an environment of its own, which is kept.
versions: $(VENV)/.tested
	$(BIN)/python -m tests.versions $(VERSIONS)

# Every kind of world of JAX agents against PyMDP's own rollout; most of it is compiling.
worlds: $(VENV)/.tested
	$(BIN)/pytest tests/worlds/rollouts.py

upstream: $(VENV)/.tested
	$(BIN)/python -m tests.upstream $(PYMDP)

notebooks: $(VENV)/.tested
	$(BIN)/python -m tests.reach $(PYMDP)
	$(BIN)/python -m tests.notebooks $(PYMDP)

random-jax: $(VENV)/.tested
	$(BIN)/python -m tests.property_jax --count 300

clean:
	rm -rf $(VENV) .venv-3.* .versions build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
