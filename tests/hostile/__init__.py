"""Input made to break the command: mutated scenarios, reports, baselines and archives."""
