"""Clicks, strokes and boxes into selections in 3D; segments of the whole scene."""
