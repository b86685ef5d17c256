"""The OpenAPI document of the operators' API against the API itself."""
