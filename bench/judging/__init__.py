"""What follows from executions: winners, labels for training, and the regret of policies against the best of K."""
