"""Where the data are configured to lie, how they come here, and under which licence."""
