"""Residual stages and the blocks that are added to them."""
