"""A name that could break out of its key, its label or its option is refused, with the reason, before anything is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.jobs.names import check_lock, check_name, check_task_type
from ropeline.lua.errors import ConfigurationError

CONTROLS = [chr(number) for number in (*range(32), 127, 0x85, 0x2028, 0xD800)]


@pytest.mark.parametrize("name", ["default", "critical-1", "a", "9", "Mail.out", "with_underscore", "q" * 63])
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert check_name("queue", name) == name


@pytest.mark.parametrize("wrong", [":", "{", "}", "=", ",", " ", "/", "é", "*", *CONTROLS])
def test_a_name_with_a_sign_that_means_something_is_refused_by_that_sign(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"queue: got .* is not allowed") as caught:
        check_name("queue", f"a{wrong}b")
    assert str(caught.value).endswith(f"; {wrong!r} is not allowed")


@pytest.mark.parametrize("name", ["", "q" * 64, "-q", ".q", "_q", None, 7, b"default"])
def test_a_name_that_is_empty_too_long_or_no_text_is_refused(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"stage: got .*, expected 1 to 63 of the characters"):
        check_name("stage", name)


@pytest.mark.parametrize("name", ["order:confirm", "shop.orders:confirm", "x.<locals>.f", "größe", "a" * 200])
def test_a_task_type_may_hold_a_colon(name: str) -> None:
    assert check_task_type("task", name) == name


@pytest.mark.parametrize("name", ["", "a b", "a{b", "a}b", "a" * 201, "é" * 101, None, *CONTROLS])
def test_a_task_type_without_sense_is_refused(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"task: got .*, expected 1 to 200 bytes of printable text"):
        check_task_type("task", name)


@pytest.mark.parametrize("name", ["event 42", "a/b", "größe", "l" * 200])
def test_a_lock_may_be_called_nearly_anything(name: str) -> None:
    assert check_lock("lock", name) == name


@pytest.mark.parametrize("name", ["", "a:b", "{a", "a}", "l" * 201, None, *CONTROLS])
def test_a_lock_with_a_sign_of_a_key_is_refused(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"lock: got .*, expected 1 to 200 bytes of printable text"):
        check_lock("lock", name)


@given(st.text())
def test_what_is_accepted_can_stand_in_a_key(name: str) -> None:
    for check in (check_name, check_lock, check_task_type):
        try:
            accepted = check("name", name)
        except ConfigurationError:
            continue
        assert accepted == name
        assert accepted.encode()
        assert not {"{", "}", "\n", "\0"} & set(accepted)
        assert check is check_task_type or ":" not in accepted
