"""A local API that behaves like the real one, faults included: for trying out, rehearsals, tests and benchmarks."""
