"""Opening, reading and writing a journal and the files beside it."""
