"""Captures in memory: scenes, splits, normalisation, photos, rays."""
