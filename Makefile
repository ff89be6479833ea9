# Everything a person or CI does with this repository; `make` alone lists it.
# PYTHON=/path/to/python3.11 chooses the interpreter, VENV=folder where the environment goes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV ?= .venv
PYTHON ?=
STAMP := $(VENV)/.installed
export PATH := $(abspath $(VENV))/bin:$(PATH)
# Packages that another project put there must not shadow the locked ones.
export PYTHONPATH :=

##@ Use

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(STAMP) ## Train teacher, labels, student and control on the embedded digits; write the report
	python train.py --experiment=retinanet_selftrain --mode=train_and_eval

.PHONY: bench
bench: $(STAMP) ## Measure speed side by side with the stock code
	python -m benchmarks

##@ Develop

.PHONY: docs
docs: $(STAMP) ## Build the documentation site, site/index.html; a dead link is an error
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build

.PHONY: setup
setup: $(STAMP) ## Make or repair the environment in .venv

# Written last, so that the next make resumes an interrupted set-up.
$(STAMP): requirements.lock setup.cfg pyproject.toml
	@tools/setup_environment.sh "$(VENV)" "$(PYTHON)"
	@touch $@

# glibc keeps what threads have freed in an arena for each; with two arenas the processes stay smaller.
test test-slow: export MALLOC_ARENA_MAX := 2

.PHONY: test
test: $(STAMP) ## Run the tests, except the slow ones
# Two processes: TensorFlow leaves half of two cores idle in such small models. A file's tests share what they set up.
# In the order of tests/conftest.py, not by the number of tests in a file.
	python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder -m "not slow"

.PHONY: test-slow
test-slow: $(STAMP) ## Run the tests that take minutes or gigabytes
# Two processes of up to 3 GB each; the classes that take longest share nothing that is dear to set up.
# In the order of tests/conftest.py, not by the number of tests in a class.
	python -m pytest -n 2 --dist=loadscope --no-loadscope-reorder -m slow

# Beam needs other versions of some packages, so it has an environment and a lock of its own.
.PHONY: test-beam
test-beam: export MALLOC_ARENA_MAX := 2
test-beam: ## Run the tests of labelling with Apache Beam, in an environment of their own
	@LOCK=requirements-beam.lock tools/setup_environment.sh "$(VENV)-beam" "$(PYTHON)"
	"$(VENV)-beam/bin/python" -m pytest tests/e2e/beam_test.py

.PHONY: check
check: check-lint check-types check-imports docs check-build ## Run every check that is not a test

.PHONY: check-lint
check-lint: $(STAMP) ## Check style and formatting (ruff)
	python -m ruff check .
	python -m ruff format --check .

.PHONY: check-types
check-types: $(STAMP) ## Check types (mypy)
	python -m mypy

.PHONY: check-imports
check-imports: $(STAMP) ## Check that imports point down only (import-linter)
	lint-imports --cache-dir .cache/import_linter

.PHONY: check-build
check-build: $(STAMP) ## Check BUILD and MODULE.bazel (buildifier, Bazel)
	tools/bazel_check.sh

.PHONY: format
format: $(STAMP) ## Fix what ruff can fix
	python -m ruff check --fix .
	python -m ruff format .

.PHONY: lock
lock: ## Rewrite requirements.lock from setup.cfg (UPGRADE=1 takes newer versions)
	@# Not $(STAMP): it would refuse a setup.cfg that the lock does not fit yet.
	@[[ -x "$(VENV)/bin/uv" ]] || $(MAKE) setup
	"$(VENV)/bin/python" tools/update_lock.py $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## Remove the environment and the caches; runs/ stays
	rm -rf "$(VENV)" "$(VENV)-beam" .cache site *.egg-info bazel-*
	find . -name __pycache__ -not -path './runs/*' -type d -prune -exec rm -rf {} +
