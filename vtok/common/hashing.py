"""A hash that is the same in every process, on every machine and in every run."""

from hashlib import blake2b


def stable_hash(*parts: str | int) -> int:
    """A hash of `parts` and their order, in [0, 2**63)."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big") >> 1
