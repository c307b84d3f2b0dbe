"""Reports of a run: small records computed from its files, then drawn in the terminal or as one offline HTML file.

Only reads: a report can be made at any time, also while a search writes, and never opens any data set.
"""
