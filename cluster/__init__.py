"""Connecting to Ray: embedded, a local head, or a cluster; job submission; manifests. Imports nothing of ours."""
