"""The package on a Debian of its own, with systemd as PID 1: `make installed`, as root."""
