"""Predictions: how they are read from wherever they lie, found together, and shown."""
