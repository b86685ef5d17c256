"""Has images made smaller, PPM files or a sample, and writes the small ones into the current folder."""

import argparse
import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from ropeline.examples.image_resize.images import LARGEST_BYTES, WIDEST, app, resize
from ropeline.examples.image_resize.ppm import sample
from ropeline.jobs import JobFailed

_SAMPLE_WIDTH = 490


async def make_smaller(images: dict[str, bytes], *, width: int, timeout: float) -> int:  # noqa: ASYNC109 - of each result
    """Enqueue all, then wait for each; how many failed."""
    failed = 0
    async with app:
        began = time.monotonic()
        outcomes = await app.enqueue_many(resize.build(image, width) for image in images.values())
        total = sum(map(len, images.values()))
        print(f"{len(images)} images, {total:,} bytes, enqueued in {time.monotonic() - began:.2f} s")
        for name, outcome in zip(images, outcomes, strict=True):
            if outcome.handle is None:
                raise outcome.error or AssertionError
            try:
                small = await outcome.handle.result(timeout)
            except JobFailed as error:
                print(f"{name}: {error}")
                failed += 1
            else:
                await asyncio.to_thread(Path(f"{name}-{width}.ppm").write_bytes, small)
                print(f"{name}-{width}.ppm: {len(small):,} bytes")
    return failed


def _read(arguments: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    for path in arguments.files:
        image = path.read_bytes()
        if len(image) > LARGEST_BYTES:
            raise SystemExit(f"{path}: got {len(image):,} bytes, at most {LARGEST_BYTES:,} fit into a job")
        yield path.stem, image
    if arguments.samples:
        image = sample(_SAMPLE_WIDTH, _SAMPLE_WIDTH).to_ppm()
        yield from ((f"sample{number}", image) for number in range(arguments.samples))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="images in the PPM format")
    parser.add_argument("--samples", type=int, default=0, help="as many pictures of 0.7 MB that are made up")
    parser.add_argument(
        "--width", type=int, default=64, choices=range(1, WIDEST + 1), metavar="N", help="pixels of the small ones"
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for a result")
    given = parser.parse_args()
    raise SystemExit(
        1 if asyncio.run(make_smaller(dict(_read(given)), width=given.width, timeout=given.timeout)) else 0
    )
