# Two commands do everything: `make run` (the whole loop on an embedded Ray) and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test browser check docs wheel bench constraints install clean

run: install
	$(BIN)/planner quickstart

test: install browser
	$(BIN)/python -m pytest

# For the tests of pages, where there is none and apt-get may bring one; else these are skipped.
browser:
	@.ci/install_browser

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, strictly: a link that leads nowhere is an error. The page of commands is written from the code before.
docs: install
	$(BIN)/python .ci/write_reference.py
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build --strict --quiet

# What the wheel holds, and that it works where there is neither torch nor Ray.
wheel:
	.ci/check_wheel

# Every table of speed in docs/results.md, measured again: some 30 minutes on a quiet machine, 10 of them for the 100,000
# archives of 72-growth.
SPEED := 70-dataset 71-small-commands 72-growth 80-bench 81-bench-driver 82-training 83-tune 84-ddp 85-decide \
	86-structural 88-quickstart-time
bench: install
	$(BIN)/python -m benchmarks.write_results $(SPEED:%=--measure %)

# The newest versions that install together, with today's date.
constraints: install
	$(BIN)/python .ci/write_constraints.py

install: $(VENV)/installed

# torch first: resolved on its own it stays at the pinned build; named by another package it may bring GB of CUDA.
# Our own modules are compiled as pip compiles others: where PYTHONDONTWRITEBYTECODE is set, every run would again.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 12) else "Python 3.11 or 3.12 is needed, this is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/python -m compileall -q planner bench tune cluster
	touch $@

clean:
	rm -rf $(VENV) planner-quickstart site
