# `make` alone says what there is. VENV=folder uses another virtual environment than .venv, PYTHON=python3.12 another Python.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: help demo test check format mutants bench wheels
.DEFAULT_GOAL := help

help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(VENV)/.installed ## train, play and show, in a few minutes
	$(BIN)/python main.py demo

test: $(VENV)/.installed ## the fast tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.installed ## format, lint, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

format: $(VENV)/.installed ## put files into the form that check asks for
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mutants: $(VENV)/.installed ## what the tests notice: small changes of the code, one after the other (needs cosmic-ray)
	$(BIN)/python -m benchmarks.mutants

wheels: ## dist/, to take to other machines: pip install --find-links dist luxs2
	LUXS2_WHEELS=1 $(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist . ./engine/vec_noise
	@ls dist

bench: $(VENV)/.installed ## measure the speed of engine, wrappers and training
	$(BIN)/python main.py bench

# installed anew when a dependency changes; the stamp is written last, so a broken installation is tried again
$(VENV)/.installed: requirements.txt $(wildcard engine/vec_noise/*.toml engine/vec_noise/vec_noise/*.py)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -r requirements.txt
	@touch $@
