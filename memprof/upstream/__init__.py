"""What memprof knows of PyMDP."""
