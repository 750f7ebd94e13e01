# Needs Python >= 3.10 and make; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TESTS ?= tests
# where it is set, each of many processes would compile all that it imports
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all check changelog docs fuzz bench detection coverage outputs scorecard mutants clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready-demo
	$(BIN)/python migrate.py demo

# three workers on two cores: with two, both cores wait for servers a seventh of the time
RUN_TESTS = $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# what guards the verdict: an audit and a migration of each server version, every class of faults, kills; .ci/bare runs the demo
test: $(VENV)/.ready-dev
	$(RUN_TESTS) -m "not long" $(TESTS)

# and all else that ever found a fault
test-all: $(VENV)/.ready-dev
	$(RUN_TESTS) $(TESTS)

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src migrate.py tests benchmarks
	$(BIN)/mypy --strict checks
	$(BIN)/mypy --strict docs/site_hook.py
	$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports
	PYTHONPATH=tests $(BIN)/python -m support.advisories

# what changes/ says of the next release
changelog: $(VENV)/.ready-dev
	$(BIN)/towncrier build --draft --version next

# the pages as a site, in site/; a warning fails it (MkDocs, and what links lead to)
docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# the parsers of all that a user gives, with as many damaged and made-up inputs as wanted
EXAMPLES ?= 5000
fuzz: $(VENV)/.ready-dev
	MLFLOW_PARITY_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/snapshot/test_fuzz.py

bench: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.objects
	$(BIN)/python -m benchmarks.migrating
	$(BIN)/python -m benchmarks.large_file
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.listings

# what the audit detects, as the tests' fault battery finds it
detection: $(VENV)/.ready-dev
	PYTHONPATH=tests $(BIN)/python -m faults.detection > docs/detection.new
	mv docs/detection.new docs/detection.md

# what MLflow holds, and who compares it, of the releases of the tests' matrix
coverage: $(VENV)/.ready-dev
	PYTHONPATH=tests $(BIN)/python -m completeness.coverage > docs/coverage.new
	mv docs/coverage.new docs/coverage.md

# what docs/outputs.md shows: what the commands print for a real pair, and pictures of its reports (needs Chromium)
outputs: $(VENV)/.ready-dev
	PYTHONPATH=tests $(BIN)/python -m support.outputs

# what each public way to move a server keeps and loses
scorecard: $(VENV)/.ready-dev
	PYTHONPATH=tests $(BIN)/python -m support.scorecard

# alters our own pairing, comparing and the contract's conditions, one place at a time: a test must notice each (about half
# an hour on two free cores; not in CI). ONLY=comparing/trees: of those modules or functions alone
mutants: $(VENV)/.ready-dev
	$(BIN)/pip install -q mutmut==3.8.1
	PYTHONPATH=tests $(BIN)/python -m support.mutants $(ONLY)

clean:
	rm -rf $(VENV) demo-work site

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed; give one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# uv takes a fraction of pip's time; without it pip does the same.
define install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || echo "uv cannot be had; pip will do" >&2
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable "$(1)" || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable "$(1)"
	@touch $@
endef

$(VENV)/.ready-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,.[migrate$(,)standin])

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,.[dev])
	@touch $(VENV)/.ready-demo $(VENV)/.ready-docs

$(VENV)/.ready-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,.[docs])

# a comma that $(call) does not take for its own
, := ,
