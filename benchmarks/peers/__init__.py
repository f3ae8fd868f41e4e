"""What others do with the same jobs: `python -m benchmarks peers`. See docs/benchmarks.md.

The clients below `clients/` run in environments of their own and import nothing of ours but `asking`, which needs no
more than the standard library.
"""
