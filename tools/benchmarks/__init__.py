"""Cases of ``tools/benchmark.py``: work of the toolkit, each beside the least that it takes."""
