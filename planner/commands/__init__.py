"""The command line's own commands, a file for each group; planner.cli mounts them."""
