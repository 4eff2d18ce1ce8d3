"""Tests of the tune package."""
