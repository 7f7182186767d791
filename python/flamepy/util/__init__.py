"""The names that code written for flamepy 0.6 imports from here."""

from flamepy.core.types import short_name

__all__ = ["short_name"]
