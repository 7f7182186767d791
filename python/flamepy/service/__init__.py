"""Services in a few lines: an entry point here, a session there; Python objects both ways."""

from flamepy.service.client import Session
from flamepy.service.instance import FlameInstance

__all__ = ["FlameInstance", "Session"]
