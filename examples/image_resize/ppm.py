"""Reads, writes and shrinks images in the PPM format (binary, P6), in Python alone."""

import re
from dataclasses import dataclass

_SPACE = rb"\s(?:\s|#[^\n]*\n)*"
_HEADER = re.compile(rb"P6" + _SPACE + rb"(\d{1,5})" + _SPACE + rb"(\d{1,5})" + _SPACE + rb"255\s")
_CHANNELS = 3
_LONGEST_HEADER = 1024


@dataclass(frozen=True, slots=True)
class Image:
    """Rows of pixels from the top, each pixel a byte of red, green and blue."""

    width: int
    height: int
    pixels: bytes

    def to_ppm(self) -> bytes:
        """The image as a file has it."""
        return b"P6\n%d %d\n255\n%b" % (self.width, self.height, self.pixels)


def read_ppm(data: bytes) -> Image:
    """The image in a file; raises ValueError for anything else, and for more than 8 bits a colour."""
    header = _HEADER.match(data, 0, _LONGEST_HEADER)
    if header is None:
        raise ValueError("got no binary PPM (P6) with 255 as its largest value")
    width, height = int(header[1]), int(header[2])
    pixels = data[header.end() :]
    if not width or not height or len(pixels) != width * height * _CHANNELS:
        raise ValueError(f"got {len(pixels)} bytes of pixels, expected those of {width} x {height}")
    return Image(width, height, pixels)


def shrink(image: Image, width: int) -> Image:
    """The image at most `width` pixels wide, in its own proportions: each pixel is the mean of those that it stands for."""
    width = min(width, image.width)
    height = max(1, round(image.height * width / image.width))
    pixels = bytearray()
    columns = _spans(image.width, width)
    for top, bottom in _spans(image.height, height):
        rows = [image.pixels[row * image.width * _CHANNELS :][: image.width * _CHANNELS] for row in range(top, bottom)]
        for left, right in columns:
            count = (right - left) * len(rows)
            for channel in range(_CHANNELS):
                part = slice(left * _CHANNELS + channel, right * _CHANNELS, _CHANNELS)
                pixels.append(sum(sum(row[part]) for row in rows) // count)
    return Image(width, height, bytes(pixels))


def sample(width: int, height: int) -> Image:
    """A picture to try things with: two colours that run into each other."""
    pixels = bytearray()
    for row in range(height):
        for column in range(width):
            pixels += bytes((255 * column // width, 255 * row // height, 128))
    return Image(width, height, bytes(pixels))


def _spans(many: int, few: int) -> list[tuple[int, int]]:
    """Cut `many` into `few` parts that are as equal as can be."""
    return [(part * many // few, (part + 1) * many // few) for part in range(few)]
