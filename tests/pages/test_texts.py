"""Phrases made of numbers: they are true, and they read well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.pages.texts import languages, texts

ENGLISH = texts("en")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "1 minute"),
        (60, "1 minute"),
        (61, "2 minutes"),
        (59 * 60, "59 minutes"),
        (59 * 60 + 1, "1 hour"),
        (3601, "1 hour 5 minutes"),
        (7200, "2 hours"),
        (7000, "2 hours"),
        (90000, "25 hours"),
    ],
)
def test_a_duration_is_never_shorter_than_the_truth(seconds: int, words: str) -> None:
    assert ENGLISH.duration(seconds) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (None, None, "Not known yet"),
        (10, None, "Not known yet"),
        (0, 59, "Less than a minute"),
        (60, 60, "About 1 minute"),
        (30, 100, "Up to 2 minutes"),
        (130, 290, "3 to 5 minutes"),
        (250, 290, "About 5 minutes"),
        (3000, 3540, "50 to 59 minutes"),
        (3000, 3600, "50 minutes to 1 hour"),
        (4000, 8000, "1 hour 10 minutes to 2 hours 15 minutes"),
        (30, 8000, "Up to 2 hours 15 minutes"),
    ],
)
def test_a_wait_is_a_range_in_words(low: int | None, high: int | None, words: str) -> None:
    assert ENGLISH.wait(low, high) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "1 second"), (1, "1 second"), (21.4, "22 seconds"), (60, "1 minute"), (61, "2 minutes")],
)
def test_an_interval_is_exact_below_a_minute(seconds: float, words: str) -> None:
    assert ENGLISH.interval(seconds) == words


@given(st.integers(0, 10**12))
def test_a_number_keeps_its_digits(value: int) -> None:
    assert ENGLISH.number(value).replace(",", "") == str(value)
    assert all(len(group) == 3 for group in ENGLISH.number(value).split(",")[1:])


def test_plural_forms_follow_the_count() -> None:
    assert ENGLISH.plural("ahead", 1) == "1 person is ahead of you"
    assert ENGLISH.plural("ahead", 1234) == "1,234 people are ahead of you"


def test_a_name_of_the_wrong_kind_or_none_is_an_error() -> None:
    for name in ("ahead", "nothing"):
        with pytest.raises(KeyError):
            ENGLISH.text(name)
    for name in ("title", "nothing"):
        with pytest.raises(KeyError):
            ENGLISH.plural(name, 1)


@pytest.mark.parametrize("language", ["en", "EN", "en-GB", "de", "", "../en", "zh-Hant-TW"])
def test_every_language_finds_a_catalogue(language: str) -> None:
    assert texts(language).language in languages()
