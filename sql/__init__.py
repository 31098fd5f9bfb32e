"""SQL text to logical plan, and decided plan to plain DuckDB SQL."""
