"""Training of the neural policies: one loop, started by Ray Train, by torchrun, or inside a Tune trial."""
