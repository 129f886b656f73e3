"""Numbers that depend on their arguments alone: the same in every process, on every machine, in every run."""

from hashlib import blake2b


def stable_hash(*parts: str | int) -> int:
    """A number in [0, 2**63) from `parts`, their order included."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big") >> 1
