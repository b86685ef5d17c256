"""Reads a request's path in every way in which a site behind the gate might read it.

Sites differ: one decodes `%2f`, the next one resolves `..`, a third cuts `;jsessionid=1` or takes a backslash for a slash. A gate
that knows one reading only is walked around by the others. So a path that says the same to everybody is taken as it
is, any other one is brought into forms that cover the known readings, and one that no browser sends is doubtful: it is
gated whatever it says, and exempted by nothing.
"""

import re
import unicodedata
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

_NAME = rb"[A-Za-z0-9\-_~!$&'()*+,=:@]++"
_SEGMENT = rb"\.*+%b(?:\.++%b)*+" % (_NAME, _NAME)
# A path that says the same to everybody. Possessive throughout, so it is read once; three times as fast as looking for
# the forbidden parts one after the other.
_is_plain = re.compile(rb"/(?:%b(?:/%b)*+/?+)?+\Z" % (_SEGMENT, _SEGMENT)).match
_CONTROLS = bytes(range(0x20)) + b"\x7f"
_MOST_DECODINGS = 8


class PathForms(NamedTuple):
    """One path in the forms to compare."""

    raw: bytes
    """As it was sent, without the query."""
    normal: tuple[bytes, ...]
    """Lower-case, fully decoded, without empty segments, `.`, parameters and a slash at the end; then, where it makes a
    difference, with `..` resolved. Whoever reads a path less thoroughly sees a prefix in it only if these show it too."""
    doubtful: bool
    """No two sites need agree on what this path means, and no browser sends it."""


def path_forms(raw: bytes, decoded: bytes) -> PathForms:
    """The forms of a path from the request line (`raw`) and from what the server made of it (`decoded`)."""
    if raw == decoded and _is_plain(raw):
        normal = raw.lower()
        return PathForms(raw, (normal[:-1] if len(normal) > 1 and normal[-1] == 0x2F else normal,), False)  # noqa: FBT003
    forms, doubtful = _read(raw)
    if decoded != raw:
        others, doubtful_too = _read(decoded)
        forms, doubtful = dict.fromkeys((*forms, *others)), doubtful or doubtful_too
    return PathForms(raw, tuple(forms), doubtful)


def path_prefix(text: str) -> str | None:
    """The path of a setting as it is compared, or None when it is not an absolute path in plain ASCII."""
    raw = text.encode("utf-8", "replace")
    if len(raw) > 1024 or not _is_plain(raw):
        return None
    return path_forms(raw, raw).normal[0].decode("ascii")


def starts_with(path: bytes, prefix: bytes) -> bool:
    """Whether `path` is `prefix` or lies below it: `/shop` covers `/shop` and `/shop/cart`, not `/shopping`."""
    return path.startswith(prefix) and (
        len(path) == len(prefix) or prefix[-1:] == b"/" or path[len(prefix) : len(prefix) + 1] == b"/"
    )


def _read(path: bytes) -> tuple[dict[bytes, None], bool]:
    """The normal forms of a path that is not plain, and whether it is doubtful."""
    doubtful = path[:1] != b"/"
    for _ in range(_MOST_DECODINGS):
        before, path = path, unquote_to_bytes(path)
        if path == before:
            break
    else:
        doubtful = True
    if not path.isascii():
        try:
            # Some sites fold compatibility characters: a full-width solidus becomes a slash.
            path = unicodedata.normalize("NFKC", path.decode("utf-8")).encode("utf-8")
        except UnicodeDecodeError:
            doubtful = True
    if path.translate(None, _CONTROLS) != path or b"%u" in path or b"%U" in path:
        doubtful = True
    path = path.replace(b"\\", b"/").lower()
    forms: dict[bytes, None] = {}
    # Who decodes a path and parses the outcome once more finds a query or a fragment in it.
    for text in dict.fromkeys((path, path.partition(b"?")[0].partition(b"#")[0])):
        kept, resolved = _segments(text)
        doubtful = doubtful or len(kept) != len(resolved)
        forms[b"/" + b"/".join(kept)] = forms[b"/" + b"/".join(resolved)] = None
    return forms, doubtful


def _segments(path: bytes) -> tuple[list[bytes], list[bytes]]:
    """The segments of a decoded path, with `..` as they stand and with `..` resolved; fewer in the latter if there are any."""
    kept: list[bytes] = []
    resolved: list[bytes] = []
    for segment in path.split(b"/"):
        name = segment.partition(b";")[0]
        # Who cuts parameters first finds the query elsewhere: what stands before it may be a `..` then.
        stem = name.partition(b"?")[0].partition(b"#")[0]
        if stem.startswith(b"..") and not stem.strip(b". "):
            kept.append(b"..")
            del resolved[-1:]
        elif name := name.rstrip(b". "):
            kept.append(name)
            resolved.append(name)
    return kept, resolved
