"""What the tests share: a clock that jumps, builders of tasks, manifests and runs."""
