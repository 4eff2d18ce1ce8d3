"""A small real world to evolve: cave maps drawn from parameters and a seed, and the gates they are measured by."""
