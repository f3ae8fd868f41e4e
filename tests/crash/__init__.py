"""Kills the program anywhere, and looks from the outside at what is left."""
