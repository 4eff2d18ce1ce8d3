"""Which cases are benched, and which actions each of them is tried under."""
