"""Judging policies on logged runs: metrics, bootstrap intervals, tables."""
