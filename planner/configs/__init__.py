"""Settings that ship with the planner; arch/*.yaml are the model architectures, each naming its class."""
