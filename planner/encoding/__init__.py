"""How a context becomes tokens and features, in training and in serving alike; needs no torch."""
