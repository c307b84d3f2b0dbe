"""Which units belong together: one run of any plain module, followed unit by unit."""
