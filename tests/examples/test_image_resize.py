"""The example that resizes images, run as its README says: jobs of a megabyte, and small images for results."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.examples.image_resize.images import LARGEST_BYTES, WIDEST, resize
from ropeline.examples.image_resize.ppm import Image, read_ppm, sample, shrink
from ropeline.jobs import Discard
from tests.examples.processes import produce, working
from tests.servers import Server

PRODUCER, APP = "ropeline.examples.image_resize.resize", "ropeline.examples.image_resize.images:app"


def test_images_of_a_megabyte_come_back_small(fresh_server: Server, tmp_path: Path) -> None:
    environ = {"IMAGES_STORE": fresh_server.url}
    largest = Image(1, LARGEST_BYTES // 3 - 10, bytes([7, 8, 9]) * (LARGEST_BYTES // 3 - 10)).to_ppm()
    assert LARGEST_BYTES - 100 < len(largest) <= LARGEST_BYTES
    (tmp_path / "tall.ppm").write_bytes(Image(2, 3, bytes(range(18))).to_ppm())
    with working(APP, "-c", "2", folder=tmp_path, environ=environ):
        said = produce(PRODUCER, "--samples", "3", "--width", "16", "tall.ppm", folder=tmp_path, environ=environ)
    assert "4 images, 2,16" in said
    for number in range(3):
        small = read_ppm((tmp_path / f"sample{number}-16.ppm").read_bytes())
        assert (small.width, small.height) == (16, 16)
        assert small.pixels[:3] < small.pixels[-3:]
    assert read_ppm((tmp_path / "tall-16.ppm").read_bytes()) == Image(2, 3, bytes(range(18)))
    assert len(resize.build(largest, WIDEST).job.body) > 970_000, "the largest image fits into a job, barely"


def test_what_is_no_image_is_told_and_stops_nothing(fresh_server: Server, tmp_path: Path) -> None:
    with pytest.raises(Discard, match="no binary PPM"):
        resize(b"GIF89a", 64)
    with pytest.raises(Discard, match="width: got 257, expected 1 to 256"):
        resize(sample(4, 4).to_ppm(), 257)
    (tmp_path / "none.ppm").write_bytes(b"P3 no binary one")
    environ = {"IMAGES_STORE": fresh_server.url}
    with working(APP, folder=tmp_path, environ=environ), pytest.raises(AssertionError) as failed:
        produce(PRODUCER, "none.ppm", "--samples", "1", folder=tmp_path, environ=environ)
    assert "is dead: discarded: got no binary PPM (P6)" in str(failed.value)
    assert (tmp_path / "sample0-64.ppm").exists()


def test_a_file_that_fits_into_no_job_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "large.ppm").write_bytes(sample(800, 400).to_ppm())
    with pytest.raises(AssertionError) as failed:
        produce(PRODUCER, "large.ppm", folder=tmp_path, environ={"IMAGES_STORE": "redis://127.0.0.1:1"})
    assert "large.ppm: got 960,015 bytes, at most 730,000 fit into a job" in str(failed.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"P6\n2 2\n255\n",
        b"P6\n0 2\n255\n",
        b"P6 1 1 65535 \0\0\0\0\0\0",
        b"P6\n1 1\n255\n\0\0\0\0",
        b"P5\n1 1\n255\n\0",
        b"P6" + b" " * 2000 + b"1 1 255\n\0\0\0",
    ],
)
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="got"):
        read_ppm(data)


def test_a_comment_in_the_header_is_read_over() -> None:
    assert read_ppm(b"P6\n# by hand\n1 1 # wide and high\n255\nabc") == Image(1, 1, b"abc")


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.binary(min_size=3, max_size=3))
def test_a_small_image_keeps_its_proportions_and_a_plain_one_its_colour(
    width: int, height: int, wanted: int, colour: bytes
) -> None:
    small = shrink(Image(width, height, colour * (width * height)), wanted)
    assert small.width == min(width, wanted)
    assert small.height == max(1, round(height * small.width / width))
    assert small.pixels == colour * (small.width * small.height)
    assert read_ppm(small.to_ppm()) == small


def test_each_pixel_is_the_mean_of_those_that_it_stands_for() -> None:
    image = Image(2, 2, bytes([0, 10, 20, 100, 30, 40, 200, 50, 60, 100, 70, 80]))
    assert shrink(image, 1) == Image(1, 1, bytes([100, 40, 50]))
