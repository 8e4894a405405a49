"""Seeds that depend on what they are for, and on nothing that was drawn before."""

import hashlib


def seed_for(*purpose: object, size: int = 4) -> int:
    """Derive a seed from the user's seed and what is drawn, the same on every machine.

    Args:
        purpose: the user's seed, where there is one, and what tells this draw from others.
        size: bytes of the result; what was drawn with a size changes with it.

    Returns:
        0 to 256**size - 1.

    Example:
        >>> seed_for(0, "speech 1", "utterance-7") == seed_for("0 speech 1 utterance-7")
        True
    """
    key = " ".join(map(str, purpose))
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=size).digest())
