"""What keeps a run in bounds: limits, the supervisor that takes every process with it, the directories it works in."""
