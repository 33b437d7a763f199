"""`python -m station` runs the command `station`."""

from station.cli import main

if __name__ == "__main__":
    main()
