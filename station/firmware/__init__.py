"""Is a firmware image the manufacturer's, and how does it take the place of the old one?"""

from typing import Final

# Exit codes of an installer, ours or a product's own.
DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_AS_DECLARED: Final = 3  # the image is not what it says it is. L01.FR.29
