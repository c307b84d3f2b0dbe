"""How to choose a policy by several seeds: measured on tables, replayed by the thousand."""
