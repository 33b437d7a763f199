"""Is a firmware image the manufacturer's, and how does it take the place of the old one?"""

from typing import Final

# Exit codes of an installer, ours or a product's own.
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_IMAGE_INVALID: Final = 3  # the image is not what it says it is. L01.FR.29
