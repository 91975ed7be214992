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
TOOLS := .tools
DEMO_HOME := data/demo
# Some tests wait for processes they started: one worker more than there are processors.
WORKERS = $(shell echo $$(($$(nproc) + 1)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-docker check ci coverage images mutation performance security trend bench bench-quick bench-counters tools lock clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

test: $(VENV)/.dev  ## every test this machine can run; what it cannot is reported as skipped (MARKS=... chooses)
	@mkdir -p build/ci
	@$(BIN)/python $(if $(COVERAGE),-m coverage run )-m pytest -n $(WORKERS) --dist worksteal --junitxml=build/ci/$(or $(JUNIT),junit.xml) $(if $(MARKS),-m "$(MARKS)") $(if $(HYPOTHESIS_PROFILE),--hypothesis-profile=$(HYPOTHESIS_PROFILE))

test-docker: $(VENV)/.dev $(TOOLS)/.made  ## images and the whole stack on a Docker engine; skipped, and said so, without one
	@scripts/test-docker.sh || [ $$? -eq 77 ]

coverage: $(VENV)/.dev  ## branch coverage of compiled and interpreted runs together; fails under 85 %
	@rm -f .coverage .coverage.*
	@$(MAKE) --no-print-directory test COVERAGE=1
	@scripts/coverage.sh

check: $(VENV)/.dev  ## formatting, lint, types, layers, locks
	@scripts/check.sh

ci: $(VENV)/.dev  ## every stage of the pipeline (STAGES="lint test" chooses; docs/how-to/pipeline.md)
	@$(BIN)/python scripts/ci/pipeline.py $(STAGES)

performance: $(VENV)/.dev  ## this tree against its base (GRODT_BASE, else the commit before), in turns
	@$(BIN)/python scripts/ci/performance.py $(if $(GRODT_BASE),--base $(GRODT_BASE)) || [ $$? -eq 77 ]

mutation: $(VENV)/.dev $(TOOLS)/.made  ## do the tests notice faults in fills, ledger and ratios (about half an hour; goes on where it stopped)
	@$(BIN)/python scripts/ci/mutation.py

images: $(VENV)/.dev $(TOOLS)/.made  ## wheel, sdist and images: built, tried, pushed, signed, attested, verified
	@scripts/ci/build.sh || [ $$? -eq 77 ]

trend: $(VENV)/.dev  ## one line more in build/history from what the stages measured, and its page
	@$(BIN)/python scripts/ci/trend.py

security: $(VENV)/.dev $(TOOLS)/.made  ## the security gates; reports in build/security (docs/how-to/security-gates.md)
	@$(BIN)/python scripts/ci/security.py run $(if $(IMAGE),--image $(IMAGE)) $(if $(ONLY),--only $(ONLY)) $(if $(GRODT_REQUIRE_GATES),--require $(GRODT_REQUIRE_GATES))

bench: setup $(PEERS)/.made  ## time the main jobs beside their peers; writes docs/performance.md (about half an hour)
	@$(BIN)/python -m benchmarks.run --date $$(date -u +%F)

bench-quick: setup $(PEERS)/.made  ## the same for 100,000 bars, under 5 minutes, on the screen only
	@$(BIN)/python -m benchmarks.run --quick

bench-counters: setup  ## where a sweep's cycles go, counted by valgrind (3 minutes); writes docs/performance.md
	@$(BIN)/python -m benchmarks.counters || [ $$? -eq 77 ]

# Peers live apart: none of them may decide what versions we run. What cannot be had is reported as skipped.
$(PEERS)/.made: benchmarks/requirements.lock
	@echo "==> installing the peers to measure against into $(PEERS) (hashes checked)"
	@$(PYTHON) -m venv $(PEERS)
	@$(PIP_ENV) $(PEERS)/bin/python -m pip install --quiet --require-hashes -r $< || echo "the peers could not be installed; their rows will be skipped"
	@touch $@

tools: $(TOOLS)/.made  ## the programs that lint and scan, in an environment of their own

$(TOOLS)/.made: scripts/ci-tools.lock
	@echo "==> installing linters and scanners into $(TOOLS) (hashes checked)"
	@$(PYTHON) -m venv $(TOOLS)
	@$(PIP_ENV) $(TOOLS)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

lock:  ## re-make the locks from pyproject.toml (needs uv)
	@scripts/lock.sh

clean:  ## remove everything that was made
	rm -rf $(VENV) $(PEERS) $(TOOLS) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
