"""Changing the size of tensors that belong together, all or none, and what new entries start from."""
