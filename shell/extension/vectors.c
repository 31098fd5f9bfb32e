/* DuckDB's vectors as columns in Arrow's layout. What lies under a NULL is never looked at. */
#include "thresher.h"
#include <stdlib.h>
#include <string.h>

static const uint64_t NO_ROW = UINT64_MAX;

static void add_name(struct buffer *description, char *name) {
	buffer_add_text(description, name, strlen(name));
	duckdb_free(name);
}

/* The fields of a STRUCT with their names, the element of a LIST or an ARRAY, the entry of a MAP. */
static void create_children(struct column *column, handle type, uint8_t id, struct buffer *description) {
	uint32_t count = id == TYPE_STRUCT ? (uint32_t)duckdb_struct_type_child_count(type) : 1;
	buffer_add(description, &count, id == TYPE_STRUCT ? 4 : 0);
	column->kind = id == TYPE_STRUCT ? STRUCT : LIST;
	column->size = id == TYPE_ARRAY ? duckdb_array_type_array_size(type) : 0;
	column->children = calloc(count, sizeof *column->children);
	column->n_children = column->children ? count : 0;
	description->failed |= !column->children;
	for (uint32_t i = 0; i < column->n_children; i++) {
		if (id == TYPE_STRUCT)
			add_name(description, duckdb_struct_type_child_name(type, i));
		handle child = id == TYPE_STRUCT  ? duckdb_struct_type_child_type(type, i)
		               : id == TYPE_ARRAY ? duckdb_array_type_child_type(type)
		                                  : duckdb_list_type_child_type(type);
		column_create(column->children + i, child, description);
		duckdb_destroy_logical_type(&child);
	}
}

/* The vectors of an ENUM hold the numbers of its words, in as few bytes as will do. */
static void create_enum(struct column *column, handle type, struct buffer *description) {
	uint32_t n_words = duckdb_enum_dictionary_size(type);
	column->width = n_words <= 0xFF ? 1 : n_words <= 0xFFFF ? 2 : 4;
	buffer_add(description, &n_words, 4);
	for (uint32_t i = 0; i < n_words; i++)
		add_name(description, duckdb_enum_dictionary_value(type, i));
}

static void create_decimal(struct column *column, handle type, struct buffer *description) {
	uint8_t parts[2] = {duckdb_decimal_width(type), duckdb_decimal_scale(type)};
	column->width = parts[0] <= 4 ? 2 : parts[0] <= 9 ? 4 : parts[0] <= 18 ? 8 : 16;
	buffer_add(description, parts, 2);
}

void column_create(struct column *column, handle type, struct buffer *description) {
	/* bytes of a value, by the number of its type; the worker says which types cannot be sent */
	static const uint8_t widths[] = {0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 8, 4, 8, 16,
	                                 16, 0, 0, 0, 8, 8, 8, 0, 0, 0, 0, 16, 0, 0, 0, 8};
	uint8_t id = (uint8_t)duckdb_get_type_id(type);
	buffer_add(description, &id, 1);
	column->width = id < sizeof widths ? widths[id] : 0;
	if (id == TYPE_VARCHAR || id == TYPE_BLOB)
		column->kind = TEXT;
	else if (id == TYPE_DECIMAL)
		create_decimal(column, type, description);
	else if (id == TYPE_ENUM)
		create_enum(column, type, description);
	else if (id == TYPE_STRUCT || id == TYPE_LIST || id == TYPE_MAP || id == TYPE_ARRAY)
		create_children(column, type, id, description);
}

void column_free(struct column *column) {
	for (uint32_t i = 0; i < column->n_children; i++)
		column_free(column->children + i);
	free(column->children);
	buffer_free(&column->validity);
	buffer_free(&column->ends);
	buffer_free(&column->values);
	buffer_free(&column->chosen);
	buffer_free(&column->elements);
}

static uint64_t append_values(struct column *column, const uint8_t *data, const uint64_t *chosen, uint64_t count) {
	static const uint8_t zeros[16];
	uint32_t width = column->width;
	uint8_t *values = buffer_extend(&column->values, count * width);
	for (uint64_t i = 0; values && i < count; i++)
		memcpy(values + i * width, chosen[i] == NO_ROW ? zeros : data + chosen[i] * width, width);
	return count * width;
}

static uint64_t append_texts(struct column *column, const struct text *texts, const uint64_t *chosen, uint64_t count) {
	uint64_t start = column->values.size;
	int32_t *ends = buffer_extend(&column->ends, count * 4);
	for (uint64_t i = 0; ends && i < count; i++) {
		if (chosen[i] != NO_ROW)
			buffer_add(&column->values, text_bytes(texts + chosen[i]), texts[chosen[i]].size);
		ends[i] = (int32_t)column->values.size;
	}
	return count * 4 + column->values.size - start;
}

/* Append the elements of lists; those of arrays lie in a row, as many for each. */
static uint64_t append_lists(struct column *column, handle vector, const uint64_t *chosen, uint64_t count) {
	const struct list *lists = duckdb_vector_get_data(vector);
	struct buffer *elements = &column->elements;
	int32_t *ends = buffer_extend(&column->ends, count * 4);
	elements->size = 0;
	for (uint64_t i = 0; ends && i < count; i++) {
		struct list list = {0};
		if (chosen[i] != NO_ROW)
			list = column->size ? (struct list){chosen[i] * column->size, column->size} : lists[chosen[i]];
		uint64_t *rows = buffer_extend(elements, list.count * 8);
		for (uint64_t k = 0; rows && k < list.count; k++)
			rows[k] = list.from + k;
		ends[i] = (int32_t)(column->children->rows + elements->size / 8);
	}
	vector = column->size ? duckdb_array_vector_get_child(vector) : duckdb_list_vector_get_child(vector);
	return count * 4 + column_append(column->children, vector, (void *)elements->bytes, elements->size / 8);
}

uint64_t column_append(struct column *column, handle vector, const uint64_t *rows, uint64_t count) {
	const uint64_t *mask = duckdb_vector_get_validity(vector);
	uint64_t *chosen = buffer_extend(&column->chosen, count * 8), weight = 0;
	uint8_t *there = buffer_extend(&column->validity, count);
	column->chosen.size = 0;
	if (!chosen || !there)
		return 0;
	for (uint64_t i = 0; i < count; i++) {
		there[i] = rows[i] != NO_ROW && is_valid(mask, rows[i]);
		chosen[i] = there[i] ? rows[i] : NO_ROW;
	}
	if (column->kind == FIXED)
		weight = append_values(column, duckdb_vector_get_data(vector), chosen, count);
	else if (column->kind == TEXT)
		weight = append_texts(column, duckdb_vector_get_data(vector), chosen, count);
	else if (column->kind == LIST)
		weight = append_lists(column, vector, chosen, count);
	for (uint32_t i = 0; column->kind == STRUCT && i < column->n_children; i++)
		weight += column_append(column->children + i, duckdb_struct_vector_get_child(vector, i), chosen, count);
	column->rows += count;
	return count + weight;
}

/* A buffer on the wire: its size, its bytes, padding to 8. */
static void write_buffer(struct buffer *buffer, struct buffer *frame) {
	buffer_add(frame, &buffer->size, 8);
	buffer_add(frame, buffer->bytes, buffer->size);
	buffer_add(frame, &(uint64_t){0}, -buffer->size & 7);
	frame->failed |= buffer->failed;
	buffer->size = 0;
}

void column_write(struct column *column, struct buffer *frame) {
	write_buffer(&column->validity, frame);
	if (column->kind == TEXT || column->kind == LIST)
		write_buffer(&column->ends, frame);
	if (column->kind == TEXT || column->kind == FIXED)
		write_buffer(&column->values, frame);
	for (uint32_t i = 0; i < column->n_children; i++)
		column_write(column->children + i, frame);
	frame->failed |= column->chosen.failed || column->elements.failed;
	column->rows = 0;
}
