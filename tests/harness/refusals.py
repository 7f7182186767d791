"""A server's refusal as an exception with its facts, for clients that go on after one."""

from __future__ import annotations

import re
from typing import Any, Optional

_TAG = re.compile(r"\[flame:(\w+)((?: \w+=[^\] ]*)*)\]")


class Refused(Exception):
    """The server answered, and said no.

    Attributes
    ----------
    code : str
    outcome : str or None
    version : int or None
        The newest version, of a conflict; 0 = absent.
    """

    def __init__(self, code: str, outcome: Optional[str], version: Optional[int], words: str):
        super().__init__(words)
        self.code = code
        self.outcome = outcome
        self.version = version

    @classmethod
    def of_document(cls, error: dict[str, Any]) -> Refused:
        """From an error document."""
        return cls(error["code"], error.get("outcome"), error.get("version"), error["message"])

    @classmethod
    def of_exception(cls, error: BaseException) -> Optional[Refused]:
        """From the tag in pyarrow's exception; None if no server of ours answered."""
        match = _TAG.search(str(error))
        if match is None:
            return None
        facts = dict(pair.split("=", 1) for pair in match[2].split())
        version = int(facts["version"]) if "version" in facts else None
        return cls(match[1], facts.get("outcome"), version, str(error))
