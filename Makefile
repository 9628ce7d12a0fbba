# All recipes run in a virtual environment of their own, which `make setup` makes.
# It needs `python3` with `venv` and `pip`, and a package index; torch need not be there.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_FLAGS ?= -n 2

# Builds of torch without CUDA. The index is passed on where it can be reached; elsewhere pip
# takes what its own indexes and wheel folders offer for the pinned version.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PROBE = import urllib.request as u; u.urlopen('$(TORCH_INDEX)/torch/', timeout=5)
CPU_FLAGS = $(shell $(PYTHON) -c "$(PROBE)" 2>/dev/null && echo --extra-index-url $(TORCH_INDEX))
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# One thread in each process: tests run side by side.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: bench build clean demo docs docs-serve golden help imports lint release-check screenshots setup test test-all test-torch types

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(STAMP) ## Make .venv and install graphprune with all that the targets below need

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(CPU_FLAGS) torch
	$(INSTALL) -e ".[dev,demo,docs]"
	touch $@

test: setup ## Run the quick tests
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-all: setup ## Run all tests, also those that need the extra `zoo` or data
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m ""

# All other versions stay those of constraints.txt. `make test-torch VERSION=2.14.1 TESTS=tests/ir`
# runs a part. docs/install.md says what was run where.
TESTS ?= tests
OTHER = build/torch-$(VERSION)

test-torch: ## Run the quick tests on another torch: make test-torch VERSION=2.14.1
	$(if $(VERSION),,$(error which torch? make test-torch VERSION=2.14.1))
	$(PYTHON) -m venv $(OTHER)
	grep -v '^torch==' constraints.txt > $(OTHER)/constraints.txt
	$(OTHER)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OTHER)/constraints.txt \
		$(CPU_FLAGS) torch==$(VERSION) -e ".[test]"
	$(OTHER)/bin/python -m pytest $(PYTEST_FLAGS) $(TESTS)

golden: setup ## Rewrite the texts that tests compare with; then read the diff
	GOLDEN=rewrite $(BIN)/python -m pytest --quiet tests/test_golden.py tests/test_public_api.py

demo: setup ## Compress the network for digits, without training it again
	$(BIN)/python examples/demo.py

screenshots: setup ## Take the pictures of reports in docs/screenshots (needs a Chromium)
	$(INSTALL) -e ".[browser]"
	mkdir -p docs/screenshots
	SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest -m browser tests/report/html

lint: setup ## Check the style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup ## Check the types
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: setup ## Check that imports point down
	PYTHONPATH=. $(BIN)/lint-imports

bench: setup ## Time the analysis on growing graphs (the others need a checkpoint)
	$(INSTALL) -e ".[bench]"
	$(BIN)/python benchmarks/analysis.py

docs: setup ## Build the documentation in build/site, and check its links
	@# Not --quiet: what isn't logged isn't counted, and would pass.
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: setup ## Serve the documentation at localhost:8000; it reloads after changes
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

build: setup ## Build a wheel in dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# Torch goes into the empty environment before the wheel, so that it can be a build without CUDA or one
# that lies on disk: `make release-check RELEASE_TORCH="torch==2.13.0"`. Nothing else is pinned there.
RELEASE_TORCH ?= $(CPU_FLAGS) torch

release-check: ## Build sdist and wheel, install the wheel where nothing else is, and use it
	$(PYTHON) tests/release/check.py --torch $(RELEASE_TORCH)

clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist graphprune.egg-info
