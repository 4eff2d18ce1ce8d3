"""Measurements: what a stage costs, beside the least it could cost on the same machine in the same minute."""
