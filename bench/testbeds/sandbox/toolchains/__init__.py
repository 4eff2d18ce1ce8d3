"""The four repair tools of the sandbox; start with `launchers.toolchain_dir`."""
