"""The gate's own exceptions.

RopelineError
└── BadRequest      a request that no two servers read alike: answered with 400, whatever stands behind the gate
"""

from ropeline.lua.errors import RopelineError

__all__ = ["BadRequest"]


class BadRequest(RopelineError):
    """A request that is refused before anybody asks whose it is.

    The message is for the client. It is a fixed text and repeats nothing that the client sent.
    """
