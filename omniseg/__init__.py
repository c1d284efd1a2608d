"""OmniSeg3D: one 3D feature field from posed photos and their inconsistent 2D masks."""
