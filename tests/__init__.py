"""Sentences of behaviour."""
