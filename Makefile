# make train | test | test-slow | test-gpu | test-floor | gpu | lint | docs | clean
#
# Every target makes .venv on first use and installs the package into it again when pyproject.toml or constraints.txt has changed.
# constraints.txt is the set of versions that was tested; pyproject.toml says which ones may be used.
#   make train ARGS="backbone=clip tokeniser.stride=6"
#   make test ARGS="tests/backbone -x"
#   make train PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# pip must not run twice at once in one environment.
.NOTPARALLEL:
.PHONY: train test test-slow test-gpu test-floor gpu lint docs clean

train: $(VENV)/installed
	$(BIN)/python train.py $(ARGS)

# One thread a test process: the processes share the cores already.
test: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

# pytest's exit status 5 says that no test was selected, which is no failure here.
test-slow: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --timeout 1800 -m "slow and not gpu" $(ARGS) || [ $$? -eq 5 ]

# The tests that need a GPU. Without one they are skipped.
test-gpu: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m gpu $(ARGS)

# What a GPU does, in under ten minutes, and longer parts by name: docs/gpu.md.
gpu: $(VENV)/installed-test
	$(BIN)/python benchmarks/gpu.py $(ARGS)

# The fast tests with the lowest versions that pyproject.toml allows, in an environment of their own.
test-floor: $(VENV)-floor/installed
	OMP_NUM_THREADS=1 $(VENV)-floor/bin/python -m pytest -n auto $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The variable silences an announcement of the theme's authors.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Runs and made data in outputs/ are kept.
clean:
	rm -rf $(VENV) $(VENV)-floor build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Order-only: a package that is newer than its stamp is no reason to install, a changed pyproject.toml is.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e .
	touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e ".[test]"
	touch $@ $(VENV)/installed

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/installed-test $(VENV)/installed

$(VENV)/installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e ".[docs]"
	touch $@ $(VENV)/installed

# uv resolves to lowest versions, pip cannot. UV_CONSTRAINT=FILE holds back a version that this machine cannot have.
$(VENV)-floor/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-floor
	$(VENV)-floor/bin/python -m pip install uv
	$(VENV)-floor/bin/uv pip install --python $(VENV)-floor/bin/python --resolution lowest-direct -e ".[test]"
	touch $@
