"""The DuckDB shell: the engine behind ``FROM thresh($$ ... $$)`` in the real ``duckdb`` program."""
