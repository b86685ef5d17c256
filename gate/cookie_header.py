"""Finds one cookie in a Cookie header by searching for its name, without taking the others apart."""

LONGEST_VALUE = 4096
_BLANKS = b" \t"
_ENDS_TO_STRIP = (b"", b" ", b"\t", b'"')


def find_cookie(header: bytes, name: bytes) -> bytes | None:
    """The value of one cookie in a Cookie header, without its quotes; None when it is absent, too long or there twice.

    `name` includes its `=`. Of two copies one is somebody else's, set from a neighbouring host or path, and nothing says
    which.
    """
    start = header.find(name)
    if start < 0:
        return None
    after = start + len(name)
    if (start == 0 or header[start - 2 : start] == b"; ") and header.find(name, after) < 0:
        end = header.find(b";", after)
        found = header[after:] if end < 0 else header[after:end]
        # As browsers send it; whatever else there is to take away is left to the thorough way.
        if found.isascii() and found[-1:] not in _ENDS_TO_STRIP and found[:1] not in _ENDS_TO_STRIP:
            return found if len(found) <= LONGEST_VALUE else None
    return _find_thoroughly(header, name)


def _find_thoroughly(header: bytes, name: bytes) -> bytes | None:
    found: bytes | None = None
    start = header.find(name)
    while start >= 0:
        after = start + len(name)
        before = start - 1
        while before >= 0 and header[before] in _BLANKS:
            before -= 1
        if before < 0 or header[before] == 0x3B:
            if found is not None:
                return None
            end = header.find(b";", after)
            found = header[after:] if end < 0 else header[after:end]
        start = header.find(name, after)
    if found is None:
        return None
    found = found.strip(_BLANKS)
    if len(found) > 1 and found[0] == 0x22 and found[-1] == 0x22:
        found = found[1:-1]
    return found if len(found) <= LONGEST_VALUE else None
