"""What the API does is what its OpenAPI document says: random calls of each endpoint; `make contract SIZE=large` makes more."""

import json

import pytest

from loadtests.contract.__main__ import main


def test_random_calls_are_answered_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    failed = main(["--examples", "5", "--phases", "fuzzing", "--json"])
    out, err = capsys.readouterr()
    assert not failed, err
    assert json.loads(out)["cases"] >= 100
