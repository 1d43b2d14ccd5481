"""icf against loops written by hand: ``python -m benchmarks`` measures both in turn, on the same rows and threads."""
