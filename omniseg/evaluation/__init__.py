"""Quality of held-out views: images compared with photos, segmentation compared with labels."""
