"""The report: how a station performed in a range of time, as one HTML page.

`collect` reads a journal once and keeps figures, never entries; `page` renders them as HTML.
Moments are whole milliseconds since 1970, UTC, as `clock_corrections` corrects them; durations are
milliseconds too.
"""
