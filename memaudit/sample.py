"""Samples and orders of probes that depend on the probes alone: the same in every stage, twin and process."""

from hashlib import sha256


def drawn(number: int, share: float) -> bool:
    """Whether a probe, by its id, is in the sample of this share. A greater share only adds."""
    return int.from_bytes(sha256(f"draw {number}".encode()).digest()[:8]) < share * 2**64


def rank(number: int) -> bytes:
    """What a shuffled order is sorted by."""
    return sha256(f"order {number}".encode()).digest()
