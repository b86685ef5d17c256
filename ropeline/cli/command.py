"""The entry of the `ropeline` command: reads the command line, runs one command and says in one line what went wrong."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from ropeline.cli.errors import UsageError
from ropeline.cli.parser import build_parser
from ropeline.logs import configure_logging, redact
from ropeline.lua.errors import ConfigurationError, RopelineError

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ["main"]

_log = logging.getLogger("ropeline.cli")

_FAILED = 1
_WRONG_INPUT = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: those of the process) name, and return its exit status.

    0: done. 1: it could not be done. 2: the command line or a setting is wrong. 130: interrupted by Ctrl-C.
    """
    try:
        options = build_parser().parse_args(arguments)
        configure_logging()
        status = _handler(options)(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has gone; Python would complain about it once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except (UsageError, ConfigurationError) as error:
        return _tell(error, _WRONG_INPUT)
    except (RopelineError, OSError) as error:
        return _tell(error, _WRONG_INPUT if _is_wrong_input(error) else _FAILED)
    except Exception as error:  # noqa: BLE001 - an operator gets one line, and on request the rest
        _log.debug("the command broke off", exc_info=True)
        return _tell(f"{type(error).__name__}: {error} (ROPELINE_LOG_LEVEL=debug says where)", _FAILED)
    return status


def _handler(options: Namespace) -> Callable[[Namespace], int]:
    module, _, function = str(options.handler).partition(":")
    handler: Callable[[Namespace], int] = getattr(import_module(module), function)
    return handler


def _is_wrong_input(error: BaseException) -> bool:
    from ropeline.gate.tenant_store import RouteTaken, UnknownTenant

    return isinstance(error, UnknownTenant | RouteTaken)


def _tell(error: BaseException | str, status: int) -> int:
    text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
    print(f"ropeline: {' '.join(redact(text).split())}", file=sys.stderr)
    return status
