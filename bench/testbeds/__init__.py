"""A repo, a kernel and a world to try the planner on, for machines without Cyntra."""
