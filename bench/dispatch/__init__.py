"""``planner run`` and ``evolve``: the kernel on the user's own repo, with decisions journalled before they are run."""
