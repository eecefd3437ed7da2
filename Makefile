# make run: on a machine with Python 3.11 or newer and nothing else; make test also wants npm, gcloud
# and chromium, and says so.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What reads the clock or moves it, in one process or in many.
CLOCKS := tests/unit tests/end_to_end/test_repeats.py tests/end_to_end/test_function.py \
	tests/end_to_end/test_links.py
# What is deployed, by what it is deployed on.
FUNCTION := tests/unit tests/end_to_end/test_repeats.py tests/end_to_end/test_function.py \
	tests/end_to_end/test_links.py tests/end_to_end/test_google_cloud.py

.PHONY: help run test test-fast test-ahead test-deployed check soak attack benchmark pictures clean

help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

run: $(VENV)/.installed ## Start everything on this machine, send one time entry, show its Event
	@$(BIN)/python -m sandbox

test: check ## Run every check and test
	$(BIN)/python -m pytest --cov=mapping --cov=clockify_salesforce.kinds --cov-branch --cov-report=term-missing --cov-fail-under=100

test-fast: $(VENV)/.installed ## Run the tests that need no process, in seconds
	$(BIN)/python -m pytest tests/unit -m "not simulation"

test-ahead: $(VENV)/.installed ## Run what has to do with clocks under one that is 500 days ahead
	PYTHONPATH=tests/clock_ahead $(BIN)/python -m pytest $(CLOCKS) -m "not simulation"

test-deployed: $(VENV)-deployed/.installed ## Run the function's tests under the Python of .python-version
	$(VENV)-deployed/bin/python -m pytest $(FUNCTION) -m "not simulation"

check: $(VENV)/.installed ## Types and style only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/shellcheck -x deploy.sh

soak: $(VENV)/.installed ## 20,000 random messages with faults; prints what was lost, twice or stale
	$(BIN)/python -m tests.soak

attack: $(VENV)/.installed ## Attack the function; prints what became of authentic messages meanwhile
	$(BIN)/python -m tests.attack

benchmark: $(VENV)/.installed ## Compare with the floor and with the recipe; about 8 minutes
	$(BIN)/python -m tests.benchmark

pictures: $(VENV)/.installed ## Make the pictures of docs/tour.md anew
	$(BIN)/python -m tests.pictures

clean: ## Take away what the other targets made
	rm -rf $(VENV) $(VENV)-deployed .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build

# The calendar of the sandbox's page is one file of a package whose own needs are not wanted.
define install
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r sandbox/requirements.txt
	@touch $(1)/.installed
endef

$(VENV)/.installed: requirements.txt tests/requirements.txt sandbox/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is missing: install it, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed. Name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv is missing: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@echo "Installing what the project needs into $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	$(call install,$(VENV))

# Looked for on the PATH and under pyenv.
$(VENV)-deployed/.installed: requirements.txt tests/requirements.txt sandbox/requirements.txt .python-version
	@version=$$(cat .python-version); \
	for each in python$$version $$(ls -d $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version*/bin/python 2>/dev/null); do \
		if [ "$$($$each -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$$version" ]; then found=$$each; fi; \
	done; \
	[ "$$found" ] || { echo "Python $$version, on which the function is deployed, is neither on the PATH nor under pyenv: install it"; exit 1; }; \
	$$found -m venv $(VENV)-deployed
	$(call install,$(VENV)-deployed)
