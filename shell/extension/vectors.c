#define _GNU_SOURCE
#include "vectors.h"
#include <stdlib.h>
#include <string.h>

struct child {
	const char *name;
	handle type;
};

static uint32_t fixed_width(int type) {
	static const uint8_t widths[TYPE_ARRAY + 1] = {
	    [TYPE_BOOLEAN] = 1, [TYPE_TINYINT] = 1, [TYPE_SMALLINT] = 2, [TYPE_INTEGER] = 4, [TYPE_BIGINT] = 8,
	    [TYPE_UTINYINT] = 1, [TYPE_USMALLINT] = 2, [TYPE_UINTEGER] = 4, [TYPE_UBIGINT] = 8, [TYPE_FLOAT] = 4,
	    [TYPE_DOUBLE] = 8, [TYPE_TIMESTAMP] = 8, [TYPE_DATE] = 4, [TYPE_TIME] = 8, [TYPE_INTERVAL] = 16,
	    [TYPE_HUGEINT] = 16, [TYPE_TIMESTAMP_S] = 8, [TYPE_TIMESTAMP_MS] = 8, [TYPE_TIMESTAMP_NS] = 8,
	    [TYPE_UUID] = 16, [TYPE_TIMESTAMP_TZ] = 8};
	return type > 0 && type <= TYPE_ARRAY ? widths[type] : 0;
}

/* Read the words of an ENUM; its vectors hold their numbers, in as few bytes as will do. */
static bool read_words(struct column *column, handle type) {
	bool done = true;
	column->n_words = duckdb_enum_dictionary_size(type);
	column->width = column->n_words <= 0xFF ? 1 : column->n_words <= 0xFFFF ? 2 : 4;
	column->words = calloc(column->n_words + 1, sizeof *column->words); /* the last one stands for no word */
	for (uint32_t i = 0; column->words && i < column->n_words; i++) {
		char *word = duckdb_enum_dictionary_value(type, i);
		column->words[i] = (struct text){(uint32_t)strlen(word), {0}, strdup(word)};
		done = done && column->words[i].pointer;
		duckdb_free(word);
	}
	return done && column->words;
}

/* Read the children of a STRUCT, with their names on the wire, or the one of a LIST or ARRAY, without. */
static bool create_children(struct column *column, handle type, bool named, struct buffer *description,
                            struct column **refused) {
	bool done = true;
	uint32_t count = named ? (uint32_t)duckdb_struct_type_child_count(type) : 1;
	column->n_children = (column->children = calloc(count, sizeof *column->children)) ? count : 0;
	description->failed |= !column->children;
	for (uint32_t i = 0; done && i < column->n_children; i++) {
		char *name = named ? duckdb_struct_type_child_name(type, i) : NULL;
		column->children[i].name = strdup(name ? name : column->name);
		if (named) {
			buffer_add_text(description, name, strlen(name));
			duckdb_free(name);
		}
		handle child = named                  ? duckdb_struct_type_child_type(type, i)
		               : column->kind == LIST ? duckdb_list_type_child_type(type)
		                                      : duckdb_array_type_child_type(type);
		done = column_create(column->children + i, child, description, refused);
		duckdb_destroy_logical_type(&child);
	}
	return done;
}

bool column_create(struct column *column, handle type, struct buffer *description, struct column **refused) {
	uint64_t start = description->size;
	uint8_t id = (uint8_t)(column->type = duckdb_get_type_id(type));
	if (id == TYPE_ENUM) {
		description->failed |= !read_words(column, type);
		id = TYPE_VARCHAR;
	}
	buffer_add(description, &id, 1);
	column->kind = id == TYPE_VARCHAR || id == TYPE_BLOB ? TEXT : FIXED;
	if (column->kind == TEXT || (column->width = fixed_width(id)))
		return true;
	if (id == TYPE_DECIMAL) {
		uint8_t parts[2] = {duckdb_decimal_width(type), duckdb_decimal_scale(type)};
		column->width = parts[0] <= 4 ? 2 : parts[0] <= 9 ? 4 : parts[0] <= 18 ? 8 : 16;
		buffer_add(description, parts, 2);
		return true;
	}
	if (id == TYPE_STRUCT) {
		uint32_t count = (uint32_t)duckdb_struct_type_child_count(type);
		column->kind = STRUCT;
		buffer_add(description, &count, 4);
		return create_children(column, type, true, description, refused);
	}
	if (id == TYPE_ARRAY) {
		uint32_t size = (uint32_t)(column->array_size = duckdb_array_type_array_size(type));
		column->kind = ARRAY;
		buffer_add(description, &size, 4);
		return create_children(column, type, false, description, refused);
	}
	*refused = column;
	if (id != TYPE_LIST && id != TYPE_MAP)
		return false;
	*refused = NULL;
	column->kind = LIST;
	if (id == TYPE_MAP) /* a list of structs; on the wire the struct's fields follow at once */
		description->size = start;
	bool done = create_children(column, type, false, description, refused);
	if (id == TYPE_MAP && !description->failed)
		description->bytes[start] = TYPE_MAP;
	return done;
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

void column_view(struct column *column, handle vector) {
	column->data = duckdb_vector_get_data(vector);
	column->valid = duckdb_vector_get_validity(vector);
	for (uint32_t i = 0; i < column->n_children; i++)
		column_view(column->children + i, column->kind == STRUCT  ? duckdb_struct_vector_get_child(vector, i)
		                                  : column->kind == ARRAY ? duckdb_array_vector_get_child(vector)
		                                                          : duckdb_list_vector_get_child(vector));
}

/* Rows that can be taken at once: all NULL or all there, and the elements of lists without a gap. */
struct run {
	idx_t end; /* the row after the last */
	bool valid;
	uint64_t from, count; /* rows of the children; what lies under a NULL is not looked at */
};

static struct run next_run(const struct column *column, idx_t start, idx_t end) {
	const struct list *lists = (const struct list *)column->data;
	uint64_t size = column->kind == ARRAY ? column->array_size : 1;
	struct run run = {start, is_valid(column->valid, start), 0, 0};
	for (; run.end < end && is_valid(column->valid, run.end) == run.valid; run.end++) {
		if (column->kind != LIST || !run.valid || !lists[run.end].count)
			continue;
		if (run.count && lists[run.end].from != run.from + run.count)
			break;
		run.from = run.count ? run.from : lists[run.end].from;
		run.count += lists[run.end].count;
	}
	if (column->kind != LIST) {
		run.from = start * size;
		run.count = (run.end - start) * size;
	}
	return run;
}

static const struct text *text_at(const struct column *column, idx_t row) {
	uint32_t word = 0;
	if (column->type != TYPE_ENUM)
		return (const struct text *)column->data + row;
	memcpy(&word, column->data + row * column->width, column->width);
	return column->words + (word < column->n_words ? word : column->n_words);
}

uint64_t column_weight(const struct column *column, idx_t start, idx_t count) {
	uint64_t weight = (column->width + 4) * count;
	for (idx_t row = start; column->kind == TEXT && row < start + count; row++)
		weight += is_valid(column->valid, row) ? text_at(column, row)->size : 0;
	for (idx_t row = start; column->n_children && row < start + count;) {
		struct run run = next_run(column, row, start + count);
		for (uint32_t i = 0; i < column->n_children && run.valid; i++)
			weight += column_weight(column->children + i, run.from, run.count);
		row = run.end;
	}
	return weight;
}

/* Append bits: those of `mask` from `start` on, or `count` times `value` where there is no mask. */
static void add_bits(struct buffer *bits, uint64_t rows, const uint64_t *mask, idx_t start, idx_t count, bool value) {
	uint64_t size = (rows + count + 63) / 64 * 8, more = size > bits->size ? size - bits->size : 0;
	uint8_t *room = buffer_extend(bits, more);
	if (!room)
		return;
	memset(room, 0, more);
	for (idx_t done = 0, some; done < count; done += some) {
		idx_t from = start + done, to = rows + done;
		some = 64 - (to & 63); /* up to the end of a word on both sides */
		some = mask && some > 64 - (from & 63) ? 64 - (from & 63) : some;
		some = some > count - done ? count - done : some;
		uint64_t word = mask ? mask[from >> 6] >> (from & 63) : value ? UINT64_MAX : 0;
		((uint64_t *)bits->bytes)[to >> 6] |= (word & UINT64_MAX >> (64 - some)) << (to & 63);
	}
}

/* Note which rows are NULL; while none is, there is no bitmap. */
static void add_validity(struct column *column, const uint64_t *mask, idx_t start, idx_t count, bool valid) {
	if (!column->has_null && !mask && valid)
		return;
	if (!column->has_null)
		add_bits(&column->validity, 0, NULL, 0, column->rows, true);
	column->has_null = true;
	add_bits(&column->validity, column->rows, mask, start, count, valid);
}

/* Append places for `count` ends of texts or lists, all where the last one was; NULL where memory is short. */
static int32_t *add_ends(struct column *column, idx_t count, uint64_t end) {
	int32_t zero = 0;
	if (!column->offsets.size)
		buffer_add(&column->offsets, &zero, 4);
	int32_t *ends = (int32_t *)buffer_extend(&column->offsets, count * 4);
	for (idx_t i = 0; ends && i < count; i++)
		ends[i] = (int32_t)end;
	return ends;
}

static void append_nulls(struct column *column, idx_t count) {
	idx_t elements = column->kind == ARRAY ? count * column->array_size : count;
	add_validity(column, NULL, 0, count, false);
	if (column->kind == TEXT || column->kind == LIST)
		add_ends(column, count, column->kind == TEXT ? column->values.size : column->children->rows);
	else if (column->kind == FIXED) {
		uint8_t *values = buffer_extend(&column->values, count * column->width);
		if (values)
			memset(values, 0, count * column->width);
	} else
		for (uint32_t i = 0; i < column->n_children; i++)
			append_nulls(column->children + i, elements);
	column->rows += count;
}

static void append_texts(struct column *column, idx_t start, idx_t count) {
	uint64_t end = column->values.size, weight = column_weight(column, start, count);
	int32_t *ends = add_ends(column, count, 0);
	uint8_t *values = buffer_extend(&column->values, weight); /* more than needed */
	column->values.size = end;
	column->values.failed |= end + weight > INT32_MAX;
	if (!ends || !values || column->values.failed)
		return;
	for (idx_t row = 0; row < count; row++) {
		if (is_valid(column->valid, start + row)) {
			const struct text *text = text_at(column, start + row);
			if (text->size)
				memcpy(values, column->type == TYPE_ENUM ? text->pointer : text_bytes(text), text->size);
			values += text->size;
			end += text->size;
		}
		ends[row] = (int32_t)end;
	}
	column->values.size = end;
}

static void append_nested(struct column *column, idx_t start, idx_t end) {
	const struct list *lists = (const struct list *)column->data;
	for (struct run run; start < end; start = run.end) {
		run = next_run(column, start, end);
		uint64_t last = column->children->rows;
		for (uint32_t i = 0; i < column->n_children; i++)
			if (run.valid)
				column_append(column->children + i, run.from, run.count);
			else if (column->kind != LIST)
				append_nulls(column->children + i, run.count);
		int32_t *ends = column->kind == LIST ? add_ends(column, run.end - start, last) : NULL;
		for (idx_t row = start; ends && run.valid && row < run.end; row++)
			ends[row - start] = (int32_t)(last += lists[row].count);
	}
	column->offsets.failed |= column->children->rows > INT32_MAX;
}

void column_append(struct column *column, idx_t start, idx_t count) {
	add_validity(column, column->valid, start, count, true);
	if (column->kind == TEXT)
		append_texts(column, start, count);
	else if (column->kind == FIXED)
		buffer_add(&column->values, column->data + start * column->width, count * column->width);
	else
		append_nested(column, start, start + count);
	column->rows += count;
}

void column_send(struct column *column, struct parts *parts) {
	bool ends = column->kind == TEXT || column->kind == LIST;
	column->validity.size = column->has_null ? (column->rows + 7) / 8 : 0;
	parts_add_buffer(parts, &column->validity);
	if (ends && !column->rows)
		add_ends(column, 0, 0);
	if (ends)
		parts_add_buffer(parts, &column->offsets);
	for (uint32_t i = 0; i < column->n_children; i++)
		column_send(column->children + i, parts);
	if (!column->n_children)
		parts_add_buffer(parts, &column->values);
}

void column_clear(struct column *column) {
	column->validity.size = column->offsets.size = column->values.size = column->rows = 0;
	column->has_null = false;
	for (uint32_t i = 0; i < column->n_children; i++)
		column_clear(column->children + i);
}
