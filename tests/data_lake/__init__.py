"""A fleet of stations whose months are exported, and engines that read them all at once."""
