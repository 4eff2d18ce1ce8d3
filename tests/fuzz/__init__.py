"""Fuzzing: damaged input for decisions, readers and ledgers, and the corpus of what once went wrong."""
