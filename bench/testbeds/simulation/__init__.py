"""A simulated Cyntra repo: a world whose runs cost nothing, the people who work in it, and the files they leave."""
