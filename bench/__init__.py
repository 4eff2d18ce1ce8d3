"""The bench: issues re-run under different decisions, to learn which decision wins."""
