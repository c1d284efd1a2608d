"""Measures of held-out views: image quality and segmentation against labels."""
