# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Machine-wide pip settings (extra indexes, find-links) must not decide what we install; only a certificate the machine
# needs to reach its registry is kept.
CERT = $(or $(PIP_CERT),$(shell $(PYTHON) -m pip config get global.cert 2>/dev/null))
PIP_ENV = env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL -u PIP_CONSTRAINT $(if $(CERT),PIP_CERT=$(CERT)) PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
PIP = $(PIP_ENV) $(BIN)/python -m pip
PEERS := benchmarks/.venv
DEMO_HOME := data/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo test check coverage bench bench-quick lock clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime  ## make .venv with `grodt` in it, from the hash-pinned lock

$(VENV)/.made: 
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found; see the README for the one apt line"; exit 1; }
	@echo "==> making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "Python 3.11, 3.12 or 3.13 is needed; set PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.made requirements.lock pyproject.toml
	@echo "==> installing the runtime lock (hashes checked)"
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "==> installing the development lock (hashes checked)"
	@$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

demo: setup  ## synthetic bars with known regimes -> backtest -> HTML report
	@echo "==> 1/2 synthetic bars (G1: regimes known, seed 7)"
	@$(BIN)/grodt data synth G1 --bars 129600 --seed 7 --home $(DEMO_HOME)
	@echo "==> 2/2 backtest of s1_trend on them, stored in $(DEMO_HOME), with a report"
	@$(BIN)/grodt backtest s1_trend --home $(DEMO_HOME) --venue synthetic --symbol G1 --timeframe 1m --report $(DEMO_HOME)/report.html

test: $(VENV)/.dev  ## every test this machine can run; what it cannot is reported as skipped
	@$(BIN)/python $(if $(COVERAGE),-m coverage run )-m pytest -n 2

coverage: $(VENV)/.dev  ## branch coverage of compiled and interpreted runs together; fails under 85 %
	@rm -f .coverage .coverage.*
	@$(MAKE) --no-print-directory test COVERAGE=1
	@scripts/coverage.sh

check: $(VENV)/.dev  ## formatting, lint, types, layers, locks
	@scripts/check.sh

bench: setup $(PEERS)/.made  ## time the main jobs beside their peers; writes docs/performance.md (about half an hour)
	@$(BIN)/python -m benchmarks.run --date $$(date -u +%F)

bench-quick: setup $(PEERS)/.made  ## the same for 100,000 bars, under 5 minutes, on the screen only
	@$(BIN)/python -m benchmarks.run --quick

# Peers live apart: none of them may decide what versions we run. What cannot be had is reported as skipped.
$(PEERS)/.made: benchmarks/requirements.lock
	@echo "==> installing the peers to measure against into $(PEERS) (hashes checked)"
	@$(PYTHON) -m venv $(PEERS)
	@$(PIP_ENV) $(PEERS)/bin/python -m pip install --quiet --require-hashes -r $< || echo "the peers could not be installed; their rows will be skipped"
	@touch $@

lock:  ## re-make the locks from pyproject.toml (needs uv)
	@scripts/lock.sh

clean:  ## remove everything that was made
	rm -rf $(VENV) $(PEERS) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
