"""Operations that training meets, each on fixed inputs: the digest of every result, and its time.

    python -m bench.operations [--seconds S] [--threads N]

In: the kernels that the environment's variables choose, which torch reads once as it is imported.
Out: a JSON line per case with the digests of its forward and backward results; with --seconds also
the best time of one call. Inputs are made of random integers, so they are the same on every CPU.
What to conclude is bench.portability's.
"""
