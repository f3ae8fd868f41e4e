"""What the program costs in time, memory and processor, against baselines measured in the same run.

`python -m benchmarks` runs everything, `python -m benchmarks NAME` one scenario. Linux and macOS only.
"""

MODEL = "gemini-3.1-flash-image"
"""What every scenario asks for: the model with all four sizes."""
