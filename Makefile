# make run: on a machine with Python 3.11 or newer and nothing else; make test also wants npm and
# gcloud, and says so.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test check soak benchmark clean

help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.installed ## Start everything on this machine, send one time entry, show its Event
	@$(BIN)/python -m sandbox

test: check ## Run every check and test
	$(BIN)/python -m pytest --cov=mapping --cov-branch --cov-report=term-missing --cov-fail-under=100

check: $(VENV)/.installed ## Types and style only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/shellcheck -x deploy.sh

soak: $(VENV)/.installed ## 20,000 random messages with faults; prints what was lost, twice or stale
	$(BIN)/python -m tests.soak

benchmark: $(VENV)/.installed ## Compare with the floor and with the recipe; about 8 minutes
	$(BIN)/python -m tests.benchmark

clean: ## Take away what the other targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build

$(VENV)/.installed: requirements.txt tests/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is missing: install it, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed. Name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv is missing: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@echo "Installing what the project needs into $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@
