"""The forecast against measured vLLM runs: `python -m tests.accuracy_perf`."""
