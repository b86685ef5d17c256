"""Hostile requests against the gate in front of a real site: nothing may get through that is not exempted, nothing may break."""
