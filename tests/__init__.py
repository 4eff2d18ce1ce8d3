"""Tests, mirroring the packages they test; fixtures are real artifacts."""
