"""How did a station fare in a range of time, on one page?

`gather` walks a journal once and keeps figures, never entries; `page` makes HTML of them. Moments
are whole milliseconds since 1970, UTC, as `times` sets them right; spans are milliseconds too.
"""
