"""The one renderer, rendered views, and their pictures."""
