"""Texts in HTML as plain text, for a display without HTML.

`html` has a table of 2,231 names, 0.4 MiB with them. Most CSMSs never send HTML, so the module is
imported for the first text that may need it: by the receiver of a frame in a thread, and by the
start if the state has such a text. An import by the decision would hold the loop.
"""

from __future__ import annotations

import re
import sys
from typing import Final

from journal.projections.driver_information import DriverInformation

HTML: Final = "HTML"  # MessageFormatEnumType
_MARKUP: Final = re.compile(r"<[^>]*>")


def is_import_due(frame: str) -> bool:
    """Whether a frame may have the first text in HTML; the name of the format may be escaped."""
    return "html" not in sys.modules and (f'"{HTML}"' in frame or "\\u" in frame)


def import_html() -> None:
    """Import what `convert_to_plain_text` needs."""
    import html  # noqa: F401


def import_html_for(stored: DriverInformation) -> None:
    """Import it at a start if what is stored for EV drivers has a text in HTML."""
    if stored.has_format(HTML):
        import_html()


def convert_to_plain_text(content: str) -> str:
    """The text without markup, on one line, with characters instead of their names."""
    import html

    return " ".join(html.unescape(_MARKUP.sub(" ", content)).split())
