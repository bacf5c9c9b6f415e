"""The contestants of `bench.training`, each a program that trains one job by itself."""
