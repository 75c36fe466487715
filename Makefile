# Every target works from a fresh clone with Python 3.11+, git and make alone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help run test check lint types accuracy bench screenshots lock build clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/.run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	$(BIN)/python -m compileall -q wizard
	touch $@

$(BIN)/.dev: pyproject.toml requirements.lock | $(BIN)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --group dev
	touch $@

run: $(BIN)/.run  ## open the wizard (without a terminal: print the plan of an example)
	@if [ -t 0 ] && [ -t 2 ]; then exec $(BIN)/vllm-wizard-tui $(ARGS); else exec $(BIN)/vllm-wizard-tui --example; fi

test: $(BIN)/.run $(BIN)/.dev  ## run the tests
	$(BIN)/python -m pytest -n auto $(ARGS)

check: lint types test  ## what CI runs

lint: $(BIN)/.run $(BIN)/.dev  ## style, formatting and the arrows between packages
	$(BIN)/ruff check wizard tests
	$(BIN)/ruff format --check wizard tests
	$(BIN)/lint-imports

types: $(BIN)/.run $(BIN)/.dev  ## strict types
	$(BIN)/mypy

accuracy: $(BIN)/.run $(BIN)/.dev  ## predictions against real launches and measured runs
	$(BIN)/python -m tests.accuracy $(ARGS)
	$(BIN)/python -m tests.accuracy_perf

bench: $(BIN)/.run $(BIN)/.dev  ## start-up, bytes per key and planner cost, beside bare Textual programs
	$(BIN)/python -m tests.bench $(ARGS)

screenshots: $(BIN)/.run $(BIN)/.dev  ## render the screens and a recorded journey into screenshots/
	$(BIN)/python -m tests.screenshots

lock: $(BIN)/.dev  ## write requirements.lock: the versions that development uses
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --group dev pyproject.toml -o requirements.lock

clean:  ## remove what the targets made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis
