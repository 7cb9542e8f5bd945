"""memprof: profile, optimise and benchmark the memory of populations of PyMDP agents."""
