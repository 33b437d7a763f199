"""`python -m station` is the command `station`."""

from station.cli import main

if __name__ == "__main__":
    main()
