"""What performs executions: one role, with a file or folder per way of filling it."""
