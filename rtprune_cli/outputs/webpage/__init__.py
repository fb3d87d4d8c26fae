"""What self-contained HTML pages have in common: templates that escape everything, their colours and tables, and hashes
for a security policy."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


class Templates:
    """The files in the folder ``templates`` of a package, beside those that all pages share."""

    def __init__(self, package: str) -> None:
        self._folder, self._shared = files(package).joinpath("templates"), files(__package__)

    def read(self, name: str) -> str:
        """The text of a file: the package's own, or the one that is shared."""
        own = self._folder.joinpath(name)
        return (own if own.is_file() else self._shared.joinpath(name)).read_text(encoding="utf-8")

    def script(self, name: str) -> str:
        """A page's script: what all pages share, then the file of its own."""
        return self.read("shared.js") + self.read(name)

    def style(self, name: str) -> str:
        """A page's style, of the same two parts."""
        return self.read("shared.css") + self.read(name)

    def environment(self) -> Environment:
        """For its templates; a name that they do not know is an error."""
        import jinja2

        return jinja2.Environment(
            loader=jinja2.FunctionLoader(self.read),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )


def policy_hash(text: str) -> str:
    """SHA-256 in base64, by which a content security policy lets a script or style of the page through."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
