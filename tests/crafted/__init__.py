"""Stores made by someone who knows the format and means harm; tried by `tests.fuzz_stores`."""
