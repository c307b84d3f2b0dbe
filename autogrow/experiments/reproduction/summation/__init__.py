"""The second thesis' sum of two numbers by a thousand units, which are taken away in cycles."""
