"""Structure from motion: photos or a video become a capture with poses, by COLMAP in a process of its own."""
