# BookIt's commands. They need make and Python 3.11 or later; everything else is installed once, into .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL := $(PIP) install --require-hashes

.DEFAULT_GOAL := help
.PHONY: help run test test-fast check bench bench-check setup audit lock clean

help: ## Show these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

run: .venv/bookit.done ## Set up everything and serve a seeded BookIt on this machine
	@$(BIN)/bookit serve --demo

test: .venv/tools.done ## Set up everything and run every test (ARGS="-k hold" goes to pytest)
	@$(BIN)/pytest -n logical $(ARGS)

test-fast: .venv/tools.done ## Run the tests that need no other process, no browser and no race
	@$(BIN)/pytest -n logical -m "not process and not browser and not race" $(ARGS)

check: .venv/tools.done ## Check lint, format and types
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy

bench: .venv/bench.done ## Measure BookIt beside reference servers, with wrk and pgbench (ARGS="--only post --rounds 3"; ARGS="--quick")
	@$(BIN)/python benchmarks/bench.py $(ARGS)

bench-check: .venv/bench.done ## Fail if a request costs a fifth more CPU than in benchmarks/baseline.json
	@$(BIN)/python benchmarks/check.py $(ARGS)

setup: .venv/bookit.done ## Only set up: .venv and the front-end libraries
	@echo "BookIt is set up"

.venv/made.done:
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "BookIt needs Python 3.11 or later; $(PYTHON) is not. Choose another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "BookIt needs Python's venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Making .venv"
	@$(PYTHON) -m venv --clear .venv
	@touch $@

# What builds BookIt has hashes too. pip checks none in the environment of its own that it would build in.
.venv/build.done: requirements-build.lock requirements-node.lock .venv/made.done
	@$(INSTALL) -r requirements-build.lock
	@$(PIP) uninstall --yes setuptools
	@command -v node >/dev/null && command -v npm >/dev/null || $(INSTALL) -r requirements-node.lock
	@touch $@

.venv/libraries.done: requirements.lock .venv/build.done
	@echo "Installing BookIt's dependencies"
	@$(INSTALL) -r requirements.lock
	@touch $@

.venv/bookit.done: pyproject.toml hatch_build.py package.json package-lock.json .npmrc .venv/libraries.done
	@echo "Installing BookIt and its front-end libraries"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/tools.done: requirements-dev.lock .venv/bookit.done
	@echo "Installing the development tools"
	@$(INSTALL) -r requirements-dev.lock
	@touch $@

.venv/bench.done: requirements-bench.lock .venv/bookit.done
	@echo "Installing the packages of the benchmarks"
	@$(INSTALL) -r requirements-bench.lock
	@touch $@

# The lock files have names, versions and hashes for every platform and Python 3.11 or newer, and no registry address.
COMPILE := uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

# pip checks no hashes beside a project in a folder, so requirements.txt has the same versions without them.
define UNHASHED
import re, sys
print("# BookIt and all that it runs on, for pip install -r requirements.txt. Made from requirements.lock by make lock.")
print("--editable .")
print(*re.findall(r"^[a-z][^\\\n]*?(?= *\\?$$)", sys.stdin.read(), re.MULTILINE), sep="\n")
endef
export UNHASHED

audit: ## Ask whether anything that BookIt runs on has a known fault
	@set -e; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
		$(PYTHON) -m venv "$$tools"; \
		"$$tools/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.lock; \
		$(PYTHON) .ci/audit "$$tools/bin/pip-audit"

lock: ## Update the lock files from pyproject.toml and package.json (UPGRADE=1 takes the newest versions)
	@set -e; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
		$(PYTHON) -m venv "$$tools"; \
		"$$tools/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.lock; \
		"$$tools/bin/"$(COMPILE) pyproject.toml --output-file requirements.lock; \
		"$$tools/bin/"$(COMPILE) pyproject.toml --group dev --constraints requirements.lock --output-file requirements-dev.lock; \
		"$$tools/bin/"$(COMPILE) pyproject.toml --group bench --constraints requirements-dev.lock --output-file requirements-bench.lock; \
		for group in build node audit; do \
			"$$tools/bin/"$(COMPILE) --group $$group --output-file requirements-$$group.lock; \
		done
	@$(PYTHON) -c "$$UNHASHED" <requirements.lock >requirements.txt
	@npm install --package-lock-only --no-audit --no-fund

clean: ## Remove everything that these commands created, but not .bookit, your data
	rm -rf .venv build dist api/static/vendor admin/static/vendor .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
