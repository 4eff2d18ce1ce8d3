# An environment in which the steps of CI run: docker build -t cyntra-planner . && docker run --rm cyntra-planner
# The image for the pods of a cluster:         docker build --target cluster -t REGISTRY/planner:0.1.0 .
# The project has built neither yet: where they were written there is no docker.
FROM python:3.11-slim AS installed

# git: clones and commits of the bench. make: the commands. procps: what the tests of processes look with. wget: KubeRay
# asks by it whether a pod is well.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make procps wget \
    && rm -rf /var/lib/apt/lists/*

# The bench's tests end processes and change limits: an ordinary user, as on a developer's machine.
RUN useradd --create-home --uid 1000 planner
USER planner
WORKDIR /home/planner/cyntra-planner

# torch first, as in the Makefile: resolved on its own it stays at the pinned build; named by another package it may bring
# GB of CUDA. A layer of its own, so that it is fetched once.
COPY --chown=planner constraints.txt ./
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir -c constraints.txt torch==2.13.0

COPY --chown=planner . .
RUN .venv/bin/python -m pip install --no-cache-dir -c constraints.txt -e ".[train,bench]"

FROM installed AS cluster

# ray, python and planner are found by name, also by the login shells in which KubeRay starts Ray.
ENV PATH=/home/planner/cyntra-planner/.venv/bin:$PATH
USER root
RUN echo 'export PATH=/home/planner/cyntra-planner/.venv/bin:$PATH' > /etc/profile.d/planner.sh
USER planner
WORKDIR /home/planner

FROM installed AS ci

RUN .venv/bin/python -m pip install --no-cache-dir -c constraints.txt -e ".[dev,docs]" \
    && touch .venv/installed \
    && git config --global user.name planner && git config --global user.email planner@localhost

CMD [".ci/run"]
