"""The job engine: work that is done after admission, at least once, by workers that may die."""

__all__: list[str] = []
