"""`python -m gatepost` is `gatepost`."""

from gatepost.manage.cli import main

if __name__ == "__main__":
    main(prog_name="gatepost")
