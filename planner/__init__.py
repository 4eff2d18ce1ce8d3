"""From a Cyntra repo's artifacts to a decision: dataset, training, evaluation, decide."""

__version__ = "0.1.0"
