"""Makes images smaller: a job carries the image, its result is the small one."""

import os

from ropeline import Discard, Jobs
from ropeline.examples.image_resize.ppm import read_ppm, shrink

app = Jobs(os.environ.get("IMAGES_STORE") or "redis://127.0.0.1:6379/0", stage="dev", queue="images")

LARGEST_BYTES = 730_000
"""Of an image: in base 64 it then fits into the 983,040 bytes of a job's arguments."""
WIDEST = 256
"""Pixels of a small image, whose bytes have to fit into a result."""


# Computes, so it is no coroutine: a worker runs it in a thread.
@app.task(name="image:resize", max_attempts=3, timeout=60, result_ttl=600)
def resize(image: bytes, width: int) -> bytes:
    """The image `width` pixels wide. Does nothing but compute, so running it twice is as good as once."""
    if not 0 < width <= WIDEST:
        raise Discard(f"width: got {width}, expected 1 to {WIDEST}")
    try:
        return shrink(read_ppm(image), width).to_ppm()
    except ValueError as error:
        # It will be no image the next time either.
        raise Discard(str(error)) from error
