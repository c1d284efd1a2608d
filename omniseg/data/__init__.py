"""Captures: reading, splitting and normalising scenes; photos in memory, and rays from them."""
