"""File transfers: downloads of firmware (L01, L02) and uploads of logs (N01).

`retry` is what the station calls: all attempts of a transfer and the pauses between them.
`attempt_process` runs each attempt in a process of its own, whose program is `attempt`. The clients
are used only there: `http`, `ftp` and `sftp` have one family of protocols each.
"""
