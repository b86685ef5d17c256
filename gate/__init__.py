"""The request path: who goes to the site, who waits, and what each of them is told."""

from ropeline.gate.errors import BadRequest
from ropeline.gate.gate import Gate
from ropeline.gate.middleware import GateMiddleware
from ropeline.gate.settings import GateSettings, TenantSettings, load_tenants_file

__all__ = ["BadRequest", "Gate", "GateMiddleware", "GateSettings", "TenantSettings", "load_tenants_file"]
