"""The notebook: magics, live progress, people's labels in a cell."""
