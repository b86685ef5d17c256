"""Reads what a client would like: JSON or HTML, and in which language."""

from functools import lru_cache

_MOST_CHARACTERS = 2048
# Browsers send few different headers, and reading one takes a hundred times as long as remembering it.
_MOST_HEADERS = 512
_JSON = b"application/json"
_HTML = (b"text/html", b"application/xhtml+xml")


def wants_json(accept: bytes) -> bool:
    """Whether an Accept header prefers JSON to HTML. Without a preference, HTML: a person may be looking."""
    return _prefers_json(accept[:_MOST_CHARACTERS])


def languages(accept_language: bytes) -> tuple[str, ...]:
    """The languages of an Accept-Language header as lower-case tags, the most wanted first; without `*` and refused ones."""
    return _by_weight(accept_language[:_MOST_CHARACTERS])


@lru_cache(_MOST_HEADERS)
def _prefers_json(accept: bytes) -> bool:
    # Of each: quality, how exactly it is named, and how early.
    json = html = (0.0, 0, 0)
    json_rank = html_rank = 0
    for index, (name, quality) in enumerate(_weighted(accept)):
        rank = _rank_as_json(name)
        if rank and (rank, quality) > (json_rank, json[0]):
            json_rank, json = rank, (quality, rank, -index)
        rank = _rank_as_html(name)
        if rank and (rank, quality) > (html_rank, html[0]):
            html_rank, html = rank, (quality, rank, -index)
    return json > html and json[0] > 0


@lru_cache(_MOST_HEADERS)
def _by_weight(accept_language: bytes) -> tuple[str, ...]:
    weighted = [
        (quality, name)
        for name, quality in _weighted(accept_language)
        if quality > 0 and name.isascii() and name.replace(b"-", b"").isalnum()
    ]
    weighted.sort(key=lambda pair: -pair[0])
    return tuple(dict.fromkeys(name.decode("ascii") for _, name in weighted))


def _rank_as_json(name: bytes) -> int:
    if name == _JSON or (name.startswith(b"application/") and name.endswith(b"+json")):
        return 3
    return 2 if name == b"application/*" else int(name == b"*/*")


def _rank_as_html(name: bytes) -> int:
    if name in _HTML:
        return 3
    return 2 if name == b"text/*" else int(name == b"*/*")


def _weighted(header: bytes) -> list[tuple[bytes, float]]:
    """The items of a header that weighs by `q`, in their order; the other parameters are left out."""
    weighted = []
    for item in header.lower().split(b","):
        name, *parameters = item.split(b";")
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition(b"=")
            if key.strip() == b"q":
                quality = _quality(value.strip())
        if name := name.strip():
            weighted.append((name, quality))
    return weighted


def _quality(text: bytes) -> float:
    """A weight from 0 to 1; one that is written wrong weighs nothing."""
    whole, _, fraction = text.partition(b".")
    if whole not in (b"0", b"1") or len(fraction) > 3 or (fraction and not fraction.isdigit()):
        return 0.0
    return min(1.0, float(text))
