"""Where the data are configured to lie. Later: download and licence."""
