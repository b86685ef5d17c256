"""The place of the operators' HTTP API, which does not exist yet: tenants are managed with the `ropeline` command."""

__all__: list[str] = []
