"""Masks of photos: run lengths, the hierarchy they form, and its patches."""
