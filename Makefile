# Everything a developer runs. Each target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python -P
STAMP := $(VENV)/.installed
EXTENSION := shell/thresher.duckdb_extension
PIP := $(VENV)/bin/pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE  # the tests start many processes: each would compile all it loads

.PHONY: help setup demo test test-full lint format notebooks bench bench-guarantee docs-pictures dist clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 17

setup: $(STAMP) $(EXTENSION) ## create .venv and install everything with pip (again when pyproject or constraints change)

# torch comes first and by its exact version: any other request may pull a build with CUDA inside.
# Some packages carry files that are no Python of this version, which compileall calls a failure.
$(STAMP): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"
	$(PIP) --constraint constraints.txt "$$(grep ^torch== constraints.txt)"
	$(PIP) --constraint constraints.txt --group dev --editable ".[all,bench]"
	$(PY) -m compileall -qq -j 0 $(VENV)/lib || true  # by all cores, where pip takes one
	touch $(STAMP)

# pip has built it; it is built again when its sources change. Without a C compiler all else works.
$(EXTENSION): $(wildcard shell/extension/*) shell/build.py | $(STAMP)
	-$(PY) -m thresher.shell.build

demo: setup ## a guaranteed answer over 10,605 real texts with a real local model
	$(PY) -m thresher demo

# A worker for each core: threads of OpenMP beside them would wait for one another at full load.
test test-full: export OMP_NUM_THREADS := 1
test test-full: export OPENBLAS_NUM_THREADS := 1

test: setup ## the tests that run in minutes
	$(PY) -m pytest -q -n auto --dist worksteal --durations=20

test-full: setup ## all tests, the long statistical ones too
	$(PY) -m pytest -q -m "" -n auto --dist worksteal

lint: setup ## ruff, mypy --strict and the layers, over the package as it is installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	rm -rf build/tree
	$(PIP) --no-deps --no-build-isolation --target build/tree .
	$(VENV)/bin/mypy --strict -p thresher
	PYTHONPATH=build/tree $(VENV)/bin/lint-imports

format: setup ## rewrite the code as ruff formats it
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

notebooks: setup ## execute the notebooks of examples/ again and keep what they show
	$(PY) -m nbconvert --to notebook --execute --inplace examples/*.ipynb

bench: setup ## compare with the peers at equal labels; JSON and pictures into benchmarks/results
	$(PY) benchmarks/run.py

bench-guarantee: setup ## measure failures against delta over a grid (hours; resumable)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice -n 10 $(PY) benchmarks/guarantee.py

docs-pictures: setup ## make the pictures of the documentation from the running software (needs chromium)
	$(PY) docs/make_pictures.py

dist: setup ## build the wheel and the source package into dist/
	$(VENV)/bin/pip install --quiet build
	$(PY) -m build --outdir dist .

clean: ## remove what the targets above made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
