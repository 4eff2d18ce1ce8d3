"""``planner run``: the kernel's loop with the planner's decisions, each journalled before it is dispatched."""
