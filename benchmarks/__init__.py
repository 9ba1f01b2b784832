"""Benchmarks: `make bench` measures dilaton beside what else one would use."""
