"""Hyper-parameter search over the planner's training settings: search space, Optuna study, Ray Tune trials."""
