"""Typed models of the documents in ``schemas/``."""
