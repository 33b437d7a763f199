"""Verifying, archiving, salvaging and rebuilding journals, and erasing personal values."""
