# Two commands: `make run` starts a target, `make test` runs every test. `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test
PLUGINS := $(wildcard plugins/*/pyproject.toml)
LIBUSDT := $(shell sed -n 's/^dtrace = \["\(.*\)"\]/\1/p' pyproject.toml)
PLUGIN_FILES := $(shell find plugins -type f \( -name '*.py' -o -name '*.[ch]' -o -path '*/page/*' \) -not -path '*/tests/*' -not -path '*/build/*')

.DEFAULT_GOAL := help
.PHONY: help run test torture lint bench docs man venv clean benchquick fairness instructions cross wheels sanitize twins lab evidence evidence-lab check fresh mutants deb freshpackages picture pictures links site ha ha-multipath fresh-ha

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) ARGS='options for serve, pytest or the benchmark'"

# The interpreter, its venv module and its pip are looked for first, so that a missing one is one line and not a trace.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing (Debian package python3)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "make: $(PYTHON) has no venv module (Debian package python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml $(wildcard setup.py provider/* datapath/*) iscsitools/probes/table.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(TEST_STAMP): pyproject.toml $(wildcard setup.py provider/* datapath/*) iscsitools/probes/table.py $(PLUGINS) $(PLUGIN_FILES) | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(LIBUSDT)' >$(VENV)/libusdt.log 2>&1 || \
		echo "make: $(LIBUSDT) cannot be installed here ($(VENV)/libusdt.log says why): its tests are skipped" >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	$(if $(PLUGINS),$(BIN)/python -m pip install --quiet --disable-pip-version-check $(dir $(PLUGINS)))
	@touch $@ $(RUN_STAMP)

venv: $(TEST_STAMP) ## make .venv with everything that the tests need

run: $(RUN_STAMP) ## serve a disk on 127.0.0.1:3260 (ARGS: options of iscsitools serve)
	@exec $(BIN)/iscsitools serve $(ARGS)

lint: $(TEST_STAMP) ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

CHECKED := tests/test_architecture.py tests/iscsi tests/config tests/scsi tests/engine tests/initiator tests/plugins

check: lint ## lint, types and the fast tests: under two minutes (ARGS: options of pytest)
	$(BIN)/python -m pytest -q -m "not slow and not lab" $(ARGS) $(CHECKED)

mutants: $(TEST_STAMP) ## list small changes of protocol and durability that no test notices (ARGS: words of their files)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutants]'
	$(BIN)/python tests/mutants/mutants.py $(ARGS)

fresh: ## on fresh roots of Debian, as README says: make run and make check (as root; ARGS: releases, --check test)
	$(PYTHON) tests/fresh/fresh.py $(ARGS)

fresh-ha: ## the session of docs/ha.md on a fresh root of Debian 12, Ceph included (as root)
	$(PYTHON) tests/fresh/ha.py

ha: $(TEST_STAMP) ## two heads on a Ceph, one killed, stopped, cut off from Ceph and from initiators, each in ROUNDS (20), under a verified load
	$(BIN)/python plugins/iscsitools-rbd/tests/ha.py $(or $(ROUNDS),20)

ha-multipath: $(TEST_STAMP) ## the same faults before dm-multipath, in the lab's machine, for SECONDS (600)
	tests/lab/lab build
	$(BIN)/python plugins/iscsitools-rbd/tests/multipath.py $(or $(SECONDS),600)

test: lint ## lint, then all tests, the plugins' too (ARGS: options of pytest)
	$(BIN)/python -m pytest $(ARGS) tests $(wildcard plugins/*/tests)

lab: $(TEST_STAMP) ## build the virtual machine with DTrace (as root), and run the tests that need it
	tests/lab/lab build
	ISCSITOOLS_REQUIRE_TOOLS=1 $(BIN)/python -m pytest $(ARGS) -m lab tests $(wildcard plugins/*/tests)

evidence: | $(BIN)/python ## try everything with this system's dtrace, as root, and write a file of what agreed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(LIBUSDT)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	PYTHONPATH=tests $(BIN)/python -m dtrace.evidence $(ARGS)

evidence-lab: ## the same in the virtual machine of tests/lab
	@mkdir -p build/evidence
	echo "sh /host/tests/dtrace/in_lab.sh $$(git describe --always --dirty 2>/dev/null)" | \
		tests/lab/lab run --project --host . --limit 1800 /dev/stdin

torture: $(TEST_STAMP) ## kill servers 30 times over every store, cut the power of machines and disks, and remove each sync and check (ARGS: options of pytest)
	ISCSITOOLS_TORTURE=30 $(BIN)/python -m pytest -s $(ARGS) tests/torture
	$(BIN)/python tests/torture/removals.py

bench: $(TEST_STAMP) ## measure against tgtd and the bound, two hours (ARGS: options of the benchmark)
	$(BIN)/python benchmarks/compare.py $(ARGS)

benchquick: $(TEST_STAMP) ## the same in 15 minutes
	$(BIN)/python benchmarks/compare.py --quick $(ARGS)

fairness: $(TEST_STAMP) ## what a good initiator gets beside one that floods (ARGS: options of the benchmark)
	$(BIN)/python benchmarks/fairness.py $(ARGS)

instructions: $(TEST_STAMP) ## count the instructions of each form of I/O (ARGS: options of the benchmark)
	$(BIN)/python benchmarks/instructions.py $(ARGS)

cross: $(TEST_STAMP) ## compile the native parts for other systems, in build/cross
	$(BIN)/python packaging/cross/build.py

wheels: $(TEST_STAMP) ## the source distribution and wheels for Linux, in dist (ARGS: a folder, targets)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[pack,dtrace]'
	$(BIN)/python packaging/wheels/build.py $(ARGS)

deb: $(TEST_STAMP) ## a package for Debian 12 and 13, in dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[pack,dtrace]'
	$(BIN)/python packaging/deb/build.py $(ARGS)

freshpackages: $(TEST_STAMP) ## install what make wheels and make deb made on fresh roots of Debian, and serve from it (as root)
	$(PYTHON) tests/fresh/packages.py $(ARGS)
	$(BIN)/python tests/fresh/arm64.py

picture: $(TEST_STAMP) ## take README's picture of top anew
	$(BIN)/python packaging/picture/top.py

pictures: $(TEST_STAMP) ## take the pictures of docs/analytics.md anew, by its test (needs chromium)
	ISCSITOOLS_PICTURES=docs ISCSITOOLS_REQUIRE_TOOLS=1 $(BIN)/python -m pytest -q plugins/iscsitools-analytics/tests/test_walk.py

sanitize: $(TEST_STAMP) ## the native modules' tests under the address and undefined behaviour sanitizers
	$(BIN)/python -m pytest $(ARGS) tests/provider/test_sanitizers.py tests/datapath/test_sanitizers.py

twins: $(TEST_STAMP) ## the same bytes to both data paths, and to one thread and two (ARGS: --seconds, --first)
	$(BIN)/python tests/datapath/differential.py --seconds 300 $(ARGS)
	$(BIN)/python tests/server/threads_differential.py --seconds 120 $(ARGS)

docs: $(TEST_STAMP) ## write the generated pages anew
	$(BIN)/python -m iscsitools.cli.reference docs
	PYTHONPATH=tests $(BIN)/python -m dtrace.page

links: | $(BIN)/python ## have README and all packages lead to the address in pyproject.toml, after a change of it
	$(BIN)/python packaging/links/links.py

site: $(TEST_STAMP) ## the documentation as a site, in build/site/html
	$(BIN)/python packaging/site/build.py

man: ## make the manual pages, in build/man
	$(PYTHON) packaging/man/build.py build/man

clean: ## remove what was built, the virtual environment too
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
