"""A trained run: its checkpoints, loading it, applying it."""
