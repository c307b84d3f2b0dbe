"""One extension of every kind, one file each."""
