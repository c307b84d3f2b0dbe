"""What is measured: how every metric is called and written, which way it is better, and what can be optimized.

``numbers`` writes numbers, ``metric`` says what a metric is, ``scores`` says how scores of tasks are written, and
``objectives`` is the table of what a search can optimize. To add an objective, register one there; search, report,
page, ``confirm`` and ``export --prefer`` know it by that one entry.
"""
