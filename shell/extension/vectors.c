#define _GNU_SOURCE
#include "vectors.h"
#include <stdlib.h>
#include <string.h>

struct entry {
	uint64_t offset, length;
};

/* ---- types ---- */

static uint32_t fixed_width(int type) {
	static const uint8_t widths[TYPE_ARRAY + 1] = {
	    [TYPE_BOOLEAN] = 1, [TYPE_TINYINT] = 1, [TYPE_SMALLINT] = 2, [TYPE_INTEGER] = 4, [TYPE_BIGINT] = 8,
	    [TYPE_UTINYINT] = 1, [TYPE_USMALLINT] = 2, [TYPE_UINTEGER] = 4, [TYPE_UBIGINT] = 8, [TYPE_FLOAT] = 4,
	    [TYPE_DOUBLE] = 8, [TYPE_TIMESTAMP] = 8, [TYPE_DATE] = 4, [TYPE_TIME] = 8, [TYPE_INTERVAL] = 16,
	    [TYPE_HUGEINT] = 16, [TYPE_TIMESTAMP_S] = 8, [TYPE_TIMESTAMP_MS] = 8, [TYPE_TIMESTAMP_NS] = 8,
	    [TYPE_UUID] = 16, [TYPE_TIMESTAMP_TZ] = 8};
	return type > 0 && type <= TYPE_ARRAY ? widths[type] : 0;
}

static bool add_byte(struct buffer *description, int byte) {
	uint8_t one = (uint8_t)byte;
	return buffer_add(description, &one, 1);
}

static bool create_enum(struct column *column, handle type) {
	column->n_words = duckdb_enum_dictionary_size(type);
	column->width = column->n_words <= 0xFF ? 1 : column->n_words <= 0xFFFF ? 2 : 4;
	column->words = calloc(column->n_words + 1, sizeof *column->words);
	for (uint32_t i = 0; column->words && i < column->n_words; i++) {
		char *word = duckdb_enum_dictionary_value(type, i), *copy = strdup(word ? word : "");
		if (word)
			duckdb_free(word);
		if (!copy)
			return false;
		column->words[i].size = (uint32_t)strlen(copy);
		column->words[i].pointer = copy;
	}
	return column->words;
}

static bool create_child(struct column *child, const char *name, handle type, struct buffer *description,
                         struct column **refused) {
	child->name = strdup(name);
	bool created = child->name && column_create(child, type, description, refused);
	duckdb_destroy_logical_type(&type);
	return created;
}

static bool create_field(struct column *child, const char *name, handle type, struct buffer *description,
                         struct column **refused) {
	uint32_t size = name ? (uint32_t)strlen(name) : 0;
	return buffer_add(description, &size, 4) && buffer_add(description, name, size) &&
	       create_child(child, name ? name : "", type, description, refused);
}

static bool create_fields(struct column *column, handle type, struct buffer *description, struct column **refused) {
	bool map = column->type == TYPE_MAP, created = true;
	uint32_t count = map ? 2 : (uint32_t)duckdb_struct_type_child_count(type);
	column->children = calloc(count, sizeof *column->children);
	if (!column->children || !buffer_add(description, &count, 4))
		return false;
	column->n_children = count;
	if (map)
		return create_field(column->children, "key", duckdb_map_type_key_type(type), description, refused) &&
		       create_field(column->children + 1, "value", duckdb_map_type_value_type(type), description, refused);
	for (uint32_t i = 0; created && i < count; i++) {
		char *name = duckdb_struct_type_child_name(type, i);
		created = create_field(column->children + i, name, duckdb_struct_type_child_type(type, i), description,
		                       refused);
		duckdb_free(name);
	}
	return created;
}

static bool create_element(struct column *column, handle type, struct buffer *description, struct column **refused) {
	bool list = column->type == TYPE_LIST;
	if (!list)
		column->array_size = duckdb_array_type_array_size(type);
	uint32_t size = (uint32_t)column->array_size;
	if (!(column->children = calloc(1, sizeof *column->children)) || (!list && !buffer_add(description, &size, 4)))
		return false;
	column->n_children = 1;
	return create_child(column->children, column->name ? column->name : "",
	                    list ? duckdb_list_type_child_type(type) : duckdb_array_type_child_type(type), description,
	                    refused);
}

bool column_create(struct column *column, handle type, struct buffer *description, struct column **refused) {
	int id = duckdb_get_type_id(type);
	column->type = id == TYPE_ENUM ? TYPE_VARCHAR : id;
	column->width = fixed_width(id);
	if (!add_byte(description, column->type))
		return false;
	if (column->width || id == TYPE_VARCHAR || id == TYPE_BLOB)
		return true;
	if (id == TYPE_ENUM)
		return create_enum(column, type);
	if (id == TYPE_DECIMAL) {
		uint8_t width = duckdb_decimal_width(type);
		column->width = width <= 4 ? 2 : width <= 9 ? 4 : width <= 18 ? 8 : 16;
		return add_byte(description, width) && add_byte(description, duckdb_decimal_scale(type));
	}
	if (id == TYPE_STRUCT || id == TYPE_MAP)
		return create_fields(column, type, description, refused);
	if (id == TYPE_LIST || id == TYPE_ARRAY)
		return create_element(column, type, description, refused);
	*refused = column;
	return false;
}

void column_free(struct column *column) {
	for (uint32_t i = 0; i < column->n_children; i++)
		column_free(column->children + i);
	for (uint32_t i = 0; column->words && i < column->n_words; i++)
		free((char *)column->words[i].pointer);
	free(column->words);
	free(column->children);
	free(column->name);
	buffer_free(&column->validity);
	buffer_free(&column->offsets);
	buffer_free(&column->values);
}

/* ---- reading vectors ---- */

void column_view(struct column *column, handle vector) {
	column->data = duckdb_vector_get_data(vector);
	column->valid = duckdb_vector_get_validity(vector);
	if (column->type == TYPE_STRUCT)
		for (uint32_t i = 0; i < column->n_children; i++)
			column_view(column->children + i, duckdb_struct_vector_get_child(vector, i));
	else if (column->type == TYPE_ARRAY)
		column_view(column->children, duckdb_array_vector_get_child(vector));
	else if (column->type == TYPE_LIST)
		column_view(column->children, duckdb_list_vector_get_child(vector));
	else if (column->type == TYPE_MAP) /* a list of structs of key and value */
		for (uint32_t i = 0; i < 2; i++)
			column_view(column->children + i,
			            duckdb_struct_vector_get_child(duckdb_list_vector_get_child(vector), i));
}

/* The next rows that can be taken at once: all NULL or all there, a list's elements without a gap. */
struct run {
	idx_t end; /* row after the last */
	bool valid;
	uint64_t offset, length; /* elements of a list */
};

static struct run next_run(const struct column *column, idx_t start, idx_t end) {
	bool list = column->type == TYPE_LIST || column->type == TYPE_MAP;
	const struct entry *entries = (const struct entry *)column->data;
	struct run run = {start, is_valid(column->valid, start), 0, 0};
	if (!column->valid && !list) {
		run.end = end;
		return run;
	}
	for (; run.end < end && is_valid(column->valid, run.end) == run.valid; run.end++) {
		if (!list || !run.valid || !entries[run.end].length)
			continue;
		if (run.length && entries[run.end].offset != run.offset + run.length)
			break;
		if (!run.length)
			run.offset = entries[run.end].offset;
		run.length += entries[run.end].length;
	}
	return run;
}

static const struct text *text_at(const struct column *column, idx_t row) {
	if (!column->words)
		return (const struct text *)column->data + row;
	uint32_t word = 0; /* an index of 1, 2 or 4 bytes */
	memcpy(&word, column->data + row * column->width, column->width);
	return column->words + (word < column->n_words ? word : column->n_words);
}

static const char *bytes_of(const struct column *column, const struct text *text) {
	return column->words ? text->pointer : text_bytes(text);
}

uint64_t column_weight(const struct column *column, idx_t start, idx_t count) {
	uint64_t weight = (uint64_t)column->width * count;
	idx_t end = start + count;
	if (column->type == TYPE_VARCHAR || column->type == TYPE_BLOB)
		for (idx_t row = start; row < end; row++)
			weight += is_valid(column->valid, row) ? text_at(column, row)->size + 4u : 4u;
	if (!column->n_children)
		return weight;
	for (struct run run; start < end; start = run.end) {
		run = next_run(column, start, end);
		for (uint32_t i = 0; i < column->n_children && run.valid; i++)
			if (column->type == TYPE_STRUCT)
				weight += column_weight(column->children + i, start, run.end - start);
			else if (column->type == TYPE_ARRAY)
				weight += column_weight(column->children + i, start * column->array_size,
				                        (run.end - start) * column->array_size);
			else
				weight += column_weight(column->children + i, run.offset, run.length);
	}
	return weight + 4 * count;
}

/* ---- appending ---- */

/* Append `count` bits: of `mask` from `start`, or all 0 where `mask` is NULL and `ones` is not set. */
static bool add_bits(struct column *column, const uint64_t *mask, idx_t start, idx_t count, bool ones) {
	struct buffer *validity = &column->validity;
	uint64_t words = (column->rows + count + 63) / 64 * 8;
	if (words > validity->size) {
		if (!buffer_reserve(validity, words - validity->size))
			return false;
		memset(validity->bytes + validity->size, 0, words - validity->size);
		validity->size = words;
	}
	uint64_t *bits = (uint64_t *)validity->bytes;
	for (idx_t done = 0, some; done < count; done += some) {
		idx_t from = start + done, to = column->rows + done;
		some = 64 - (to & 63); /* up to the end of a word on both sides */
		if (mask && some > 64 - (from & 63))
			some = 64 - (from & 63);
		if (some > count - done)
			some = count - done;
		uint64_t word = mask ? mask[from >> 6] >> (from & 63) : ones ? UINT64_MAX : 0;
		bits[to >> 6] |= (word & UINT64_MAX >> (64 - some)) << (to & 63);
	}
	return true;
}

/* Note which rows are NULL; while none is, there is no bitmap. */
static bool add_validity(struct column *column, const uint64_t *mask, idx_t start, idx_t count, bool valid) {
	if (!column->has_null && !mask && valid)
		return true;
	if (!column->has_null) {
		uint64_t rows = column->rows;
		column->rows = 0;
		if (!add_bits(column, NULL, 0, rows, true))
			return false;
		column->rows = rows;
		column->has_null = true;
	}
	return add_bits(column, mask, start, count, valid);
}

/* Append `count` ends of texts or lists that are all where the last one was. */
static bool add_offsets(struct column *column, idx_t count, uint64_t end) {
	struct buffer *offsets = &column->offsets;
	int32_t zero = 0;
	if ((!offsets->size && !buffer_add(offsets, &zero, 4)) || !buffer_reserve(offsets, count * 4) || end > MAX_PAYLOAD)
		return false;
	int32_t *next = (int32_t *)(offsets->bytes + offsets->size);
	for (idx_t i = 0; i < count; i++)
		next[i] = (int32_t)end;
	offsets->size += count * 4;
	return true;
}

static bool append_nulls(struct column *column, idx_t count);

static bool append_null_values(struct column *column, idx_t count) {
	if (column->type == TYPE_STRUCT || column->type == TYPE_ARRAY) {
		idx_t elements = column->type == TYPE_ARRAY ? count * column->array_size : count;
		for (uint32_t i = 0; i < column->n_children; i++)
			if (!append_nulls(column->children + i, elements))
				return false;
		return true;
	}
	if (column->type == TYPE_VARCHAR || column->type == TYPE_BLOB)
		return add_offsets(column, count, column->values.size);
	if (column->n_children)
		return add_offsets(column, count, column->children[0].rows);
	if (!buffer_reserve(&column->values, count * column->width))
		return false;
	memset(column->values.bytes + column->values.size, 0, count * column->width);
	column->values.size += count * column->width;
	return true;
}

static bool append_nulls(struct column *column, idx_t count) {
	if (!add_validity(column, NULL, 0, count, false) || !append_null_values(column, count))
		return false;
	column->rows += count;
	return true;
}

static bool append_texts(struct column *column, idx_t start, idx_t count) {
	struct buffer *values = &column->values;
	uint64_t size = column_weight(column, start, count);
	if (!add_offsets(column, count, 0) || values->size + size > MAX_PAYLOAD || !buffer_reserve(values, size))
		return false;
	int32_t *ends = (int32_t *)(column->offsets.bytes + column->offsets.size) - count;
	for (idx_t row = 0; row < count; row++) {
		if (is_valid(column->valid, start + row)) {
			const struct text *text = text_at(column, start + row);
			if (text->size)
				memcpy(values->bytes + values->size, bytes_of(column, text), text->size);
			values->size += text->size;
		}
		ends[row] = (int32_t)values->size;
	}
	return true;
}

/* Append the elements of lists, which DuckDB may keep in any order, and where each list ends. */
static bool append_lists(struct column *column, idx_t start, idx_t end) {
	const struct entry *entries = (const struct entry *)column->data;
	for (struct run run; start < end; start = run.end) {
		run = next_run(column, start, end);
		uint64_t before = column->children[0].rows;
		for (uint32_t i = 0; i < column->n_children && run.length; i++)
			if (!column_append(column->children + i, run.offset, run.length))
				return false;
		if (!run.valid && !add_offsets(column, run.end - start, before))
			return false;
		for (; run.valid && start < run.end; start++)
			if (!add_offsets(column, 1, before += entries[start].length))
				return false;
	}
	return true;
}

/* Append structs and arrays: what lies under a NULL is not looked at. */
static bool append_groups(struct column *column, idx_t start, idx_t end) {
	idx_t size = column->type == TYPE_ARRAY ? column->array_size : 1;
	for (struct run run; start < end; start = run.end) {
		run = next_run(column, start, end);
		for (uint32_t i = 0; i < column->n_children; i++)
			if (run.valid ? !column_append(column->children + i, start * size, (run.end - start) * size)
			              : !append_nulls(column->children + i, (run.end - start) * size))
				return false;
	}
	return true;
}

bool column_append(struct column *column, idx_t start, idx_t count) {
	bool done;
	if (!add_validity(column, column->valid, start, count, true))
		return false;
	if (column->type == TYPE_VARCHAR || column->type == TYPE_BLOB)
		done = append_texts(column, start, count);
	else if (column->type == TYPE_LIST || column->type == TYPE_MAP)
		done = append_lists(column, start, start + count);
	else if (column->n_children)
		done = append_groups(column, start, start + count);
	else
		done = buffer_add(&column->values, column->data + start * column->width, count * column->width);
	column->rows += count;
	return done;
}

/* ---- sending ---- */

bool column_send(struct column *column, struct parts *parts) {
	bool lists = column->type == TYPE_LIST || column->type == TYPE_MAP;
	bool texts = column->type == TYPE_VARCHAR || column->type == TYPE_BLOB;
	column->validity.size = column->has_null ? (column->rows + 7) / 8 : 0;
	if (!parts_add_buffer(parts, &column->validity))
		return false;
	if ((lists || texts) && (!add_offsets(column, 0, 0) || !parts_add_buffer(parts, &column->offsets)))
		return false;
	static const uint64_t nothing = 0; /* the entries of a MAP are structs that are never NULL */
	if (column->type == TYPE_MAP && !parts_add(parts, &nothing, 8))
		return false;
	for (uint32_t i = 0; i < column->n_children; i++)
		if (!column_send(column->children + i, parts))
			return false;
	return column->n_children || parts_add_buffer(parts, &column->values);
}

void column_clear(struct column *column) {
	column->validity.size = column->offsets.size = column->values.size = column->rows = 0;
	column->has_null = false;
	for (uint32_t i = 0; i < column->n_children; i++)
		column_clear(column->children + i);
}
