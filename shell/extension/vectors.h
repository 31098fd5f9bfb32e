/* Columns in Arrow's layout, filled from DuckDB's vectors. */
#pragma once
#include "api.h"
#include "wire.h"

struct column {
	int type;             /* DuckDB's, an ENUM's is TYPE_VARCHAR */
	uint32_t width;       /* bytes of a value, of an index into `words`, 0 for text and nested types */
	uint64_t array_size;  /* elements of an ARRAY */
	uint32_t n_words;     /* an ENUM's dictionary */
	struct text *words;
	char *name;
	uint32_t n_children;
	struct column *children;
	uint64_t rows; /* what has been appended */
	bool has_null;
	struct buffer validity, offsets, values;
	const uint8_t *data; /* the vector that is appended from */
	const uint64_t *valid;
};

/* Describe a logical type in `column` and, as the wire has it, in `description`.
 * False: `*refused` is the field that cannot be sent, or NULL where memory ran out. */
bool column_create(struct column *column, handle type, struct buffer *description, struct column **refused);
void column_free(struct column *column);
void column_view(struct column *column, handle vector); /* `vector` is flat and outlives the appending */
uint64_t column_weight(const struct column *column, idx_t start, idx_t count); /* bytes of texts that rows hold */
bool column_append(struct column *column, idx_t start, idx_t count);
bool column_send(struct column *column, struct parts *parts);
void column_clear(struct column *column);
