"""The manifest, its matrix, its names and the models."""
