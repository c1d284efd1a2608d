"""Masks of photos: run-length codes, mask hierarchies, their patches, and the segmenters that make masks."""
