"""Benchmarks against peers, each of which first checks that all contenders compute the same."""
