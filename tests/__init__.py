"""The tests, in folders that mirror the code; shared helpers are imported as `tests.support`."""
