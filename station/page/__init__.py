"""The pages of a station: EV driver's display, operators' page, metrics. A process of its own.

It reads the journal and asks the control socket; the station never imports it. Needs the extra
`page`.
"""

from typing import Final

TOKEN_FILE: Final = "page.token"  # in the data directory, mode 0600
