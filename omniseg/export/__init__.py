"""Files to take away: meshes, points, masks, cut-outs, videos."""
