"""One execution by the real Cyntra, in a clone of its own."""
