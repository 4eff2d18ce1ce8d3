# An environment in which the steps of CI run: docker build -t cyntra-planner . && docker run --rm cyntra-planner
# The project has not built it yet: where it was written there is no docker.
FROM python:3.11-slim

# git: clones and commits of the bench. make: the commands. procps: what the tests of processes look with.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make procps \
    && rm -rf /var/lib/apt/lists/*

# The bench's tests end processes and change limits: an ordinary user, as on a developer's machine.
RUN useradd --create-home planner
USER planner
WORKDIR /home/planner/cyntra-planner

# torch first, as in the Makefile: resolved on its own it stays at the pinned build; named by another package it may bring
# GB of CUDA. A layer of its own, so that it is fetched once.
COPY --chown=planner constraints.txt ./
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir -c constraints.txt torch==2.13.0

COPY --chown=planner . .
RUN .venv/bin/python -m pip install --no-cache-dir -c constraints.txt -e ".[dev,docs]" \
    && touch .venv/installed \
    && git config --global user.name planner && git config --global user.email planner@localhost

CMD [".ci/run"]
