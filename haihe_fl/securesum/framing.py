"""One way to turn names and keys into bytes to sign or derive from."""


def frame(*parts: str | bytes) -> bytes:
    r"""Join parts so that no two different lists give the same bytes.

    Examples
    --------
    >>> frame("ab", "c") == frame("a", "bc")
    False
    >>> frame("a")
    b'\x00\x00\x00\x01a'
    """
    blocks = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(block).to_bytes(4, "big") + block for block in blocks)
