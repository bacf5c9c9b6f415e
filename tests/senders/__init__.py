"""Tests that run in the environments of clients that are too heavy for the others.

test_heavy_senders.py makes the environments and runs them; by name they are no tests to pytest.
"""
