"""How files are read: every failure of every reader is one line."""
