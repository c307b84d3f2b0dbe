"""The study behind a search: Optuna proposes policies, Ray Tune runs trials, the study database is the only truth.

The only package that imports Ray or Optuna.
"""
