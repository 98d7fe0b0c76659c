"""Benchmarks against peers; each first checks that both contenders compute the same."""
