"""Depth by stacking copies of blocks, beside every depth throughout, at equal compute."""
