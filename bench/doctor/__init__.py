"""`planner bench --doctor`: what this machine can and cannot enforce on a run."""
