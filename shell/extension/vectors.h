/* Columns in Arrow's layout, filled from DuckDB's vectors. */
#pragma once
#include "api.h"
#include "wire.h"

enum kind { FIXED, TEXT, LIST, ARRAY, STRUCT };

struct column {
	enum kind kind;
	int type;       /* DuckDB's number */
	uint32_t width; /* bytes of a value in a vector; 0 for texts and nested types */
	uint64_t array_size;
	uint32_t n_words; /* an ENUM's dictionary */
	struct text *words;
	char *name;
	uint32_t n_children;
	struct column *children;
	uint64_t rows; /* appended so far */
	bool has_null;
	struct buffer validity, offsets, values;
	const uint8_t *data; /* the vector that is appended from */
	const uint64_t *valid;
};

/* Fill `column` from a logical type and add the type, as the wire has it, to `description`. False: `*refused` is
 * the column of a type that cannot be sent. */
bool column_create(struct column *column, handle type, struct buffer *description, struct column **refused);
void column_free(struct column *column);
void column_view(struct column *column, handle vector); /* flat, and there until all is appended */
uint64_t column_weight(const struct column *column, idx_t start, idx_t count); /* about the bytes of rows */
void column_append(struct column *column, idx_t start, idx_t count);
void column_send(struct column *column, struct parts *parts);
void column_clear(struct column *column);
