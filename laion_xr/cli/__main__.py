"""`python -m laion_xr.cli`: the command line where the script `laion-xr` is not on the path."""

from laion_xr.cli.commands import app

if __name__ == "__main__":
    app(prog_name="laion-xr")
