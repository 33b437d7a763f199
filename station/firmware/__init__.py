"""Is a firmware image the manufacturer's, and how does it take the place of the old one?"""
