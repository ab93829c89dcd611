"""Repeatable random choices: with `FX_TESTS_SEED=N`, a test makes the same ones again."""

import os
import random


def seeded_random() -> random.Random:
    """Return a random generator. Print its seed, which pytest shows if the test fails."""
    seed = int(os.environ.get("FX_TESTS_SEED", random.randrange(2**32)))
    print(f"FX_TESTS_SEED={seed}")
    return random.Random(seed)
