"""What leaves a search: policies, networks trained by them, and their evaluation on the test split."""
