"""The page of the metrics: every series that the code writes, and no other."""

from tests.contracts.metrics_tables import PAGE, page, tables


def test_the_tables_are_those_of_the_code() -> None:
    """When this fails: python -m tests.contracts.metrics_tables."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text


def test_every_name_says_its_kind_and_its_unit() -> None:
    """Prometheus's habits: counters end in _total, times are seconds."""
    families = [family for listed in tables().values() for family in listed]
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.name.startswith(("waitingroom_", "ropeline_")), family.name
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.name.endswith("_seconds") or family.kind != "histogram", family.name
        assert family.text.endswith("."), family.name
