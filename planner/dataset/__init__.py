"""Examples, tokens and arrays: everything between run records and training."""
