"""Populations over several processes and machines, on Ray, which schedules, serialises and moves;
what agents have in common is in its object store, once per node."""
