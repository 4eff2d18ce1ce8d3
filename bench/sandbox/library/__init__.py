"""The toolbox that create_sandbox writes into a sandbox: modules of pure functions, with example inputs."""
