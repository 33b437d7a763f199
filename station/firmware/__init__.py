"""Firmware images: check of the manufacturer's signature, and the default installer. L01."""

from typing import Final

# Exit codes of an installer, the default or the product's.
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_IMAGE_INVALID: Final = 3  # the image does not match its manifest. L01.FR.29
