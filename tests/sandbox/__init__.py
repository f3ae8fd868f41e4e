"""The sandbox is held to the wire contract, and its faults to its script."""
