"""Experiments of several training runs each: conditions that differ in one thing, over paired seeds."""
