"""The clients that are compared, each a process: `python -m benchmarks.peers.clients.NAME …`, see `asking`."""
