"""Images in bulk from the Nano Banana models: a paid image is never lost, bought twice or silently wrong."""

__version__ = "0.1.0"
