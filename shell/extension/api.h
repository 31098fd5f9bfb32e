/* The part of DuckDB's stable C extension API that is used here.
 *
 * DuckDB hands an extension a struct of function pointers whose order is frozen since API version
 * v1.2.0. Its first 404 slots are the same in DuckDB 1.2 to 2.0, so one binary serves them all and
 * no header of DuckDB's is needed: each function below names its slot. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t idx_t;
typedef struct opaque *handle; /* every object of the API is one pointer */
typedef struct {
	idx_t deprecated[3];
	void *deprecated_pointers[2];
	void *internal_data;
} duckdb_result;
struct duckdb_extension_access {
	void (*set_error)(void *info, const char *error);
	handle *(*get_database)(void *info);
	const void *(*get_api)(void *info, const char *version);
};
typedef void (*scalar_function)(void *info, handle input, handle output);
typedef void (*release_function)(void *data);

enum { THRESHER_SLOTS = 404 };
extern void (*thresher_api[THRESHER_SLOTS])(void);

enum duckdb_type {
	TYPE_BOOLEAN = 1, TYPE_TINYINT, TYPE_SMALLINT, TYPE_INTEGER, TYPE_BIGINT, TYPE_UTINYINT,
	TYPE_USMALLINT, TYPE_UINTEGER, TYPE_UBIGINT, TYPE_FLOAT, TYPE_DOUBLE, TYPE_TIMESTAMP, TYPE_DATE,
	TYPE_TIME, TYPE_INTERVAL, TYPE_HUGEINT, TYPE_VARCHAR, TYPE_BLOB, TYPE_DECIMAL, TYPE_TIMESTAMP_S,
	TYPE_TIMESTAMP_MS, TYPE_TIMESTAMP_NS, TYPE_ENUM, TYPE_LIST, TYPE_STRUCT, TYPE_MAP, TYPE_UUID,
	TYPE_TIMESTAMP_TZ = 31, TYPE_ARRAY = 33, TYPE_ANY = 34
};

/* SLOT(number, result, name, (parameters), (arguments)) defines one function of the API. */
#define SLOT(slot, result, name, parameters, arguments) \
	static inline result name parameters { return ((result(*) parameters)thresher_api[slot]) arguments; }

SLOT(3, int, duckdb_connect, (handle database, handle *connection), (database, connection))
SLOT(6, void, duckdb_disconnect, (handle *connection), (connection))
SLOT(13, int, duckdb_query, (handle connection, const char *sql, duckdb_result *result),
     (connection, sql, result))
SLOT(14, void, duckdb_destroy_result, (duckdb_result *result), (result))
SLOT(25, void, duckdb_free, (void *memory), (memory))
SLOT(156, handle, duckdb_create_logical_type, (int type), (type))
SLOT(159, handle, duckdb_create_list_type, (handle type), (type))
SLOT(166, int, duckdb_get_type_id, (handle type), (type))
SLOT(167, uint8_t, duckdb_decimal_width, (handle type), (type))
SLOT(168, uint8_t, duckdb_decimal_scale, (handle type), (type))
SLOT(171, uint32_t, duckdb_enum_dictionary_size, (handle type), (type))
SLOT(172, char *, duckdb_enum_dictionary_value, (handle type, idx_t index), (type, index))
SLOT(173, handle, duckdb_list_type_child_type, (handle type), (type))
SLOT(174, handle, duckdb_array_type_child_type, (handle type), (type))
SLOT(175, idx_t, duckdb_array_type_array_size, (handle type), (type))
SLOT(178, idx_t, duckdb_struct_type_child_count, (handle type), (type))
SLOT(179, char *, duckdb_struct_type_child_name, (handle type, idx_t index), (type, index))
SLOT(180, handle, duckdb_struct_type_child_type, (handle type, idx_t index), (type, index))
SLOT(184, void, duckdb_destroy_logical_type, (handle *type), (type))
SLOT(187, void, duckdb_destroy_data_chunk, (handle *chunk), (chunk))
SLOT(190, handle, duckdb_data_chunk_get_vector, (handle chunk, idx_t column), (chunk, column))
SLOT(191, idx_t, duckdb_data_chunk_get_size, (handle chunk), (chunk))
SLOT(193, handle, duckdb_vector_get_column_type, (handle vector), (vector))
SLOT(194, void *, duckdb_vector_get_data, (handle vector), (vector))
SLOT(195, uint64_t *, duckdb_vector_get_validity, (handle vector), (vector))
SLOT(196, void, duckdb_vector_ensure_validity_writable, (handle vector), (vector))
SLOT(198, void, duckdb_vector_assign_string_element_len,
     (handle vector, idx_t row, const char *text, idx_t size), (vector, row, text, size))
SLOT(199, handle, duckdb_list_vector_get_child, (handle vector), (vector))
SLOT(201, int, duckdb_list_vector_set_size, (handle vector, idx_t size), (vector, size))
SLOT(202, int, duckdb_list_vector_reserve, (handle vector, idx_t capacity), (vector, capacity))
SLOT(203, handle, duckdb_struct_vector_get_child, (handle vector, idx_t index), (vector, index))
SLOT(204, handle, duckdb_array_vector_get_child, (handle vector), (vector))
SLOT(209, handle, duckdb_create_scalar_function, (void), ())
SLOT(210, void, duckdb_destroy_scalar_function, (handle *function), (function))
SLOT(211, void, duckdb_scalar_function_set_name, (handle function, const char *name), (function, name))
SLOT(213, void, duckdb_scalar_function_set_special_handling, (handle function), (function))
SLOT(214, void, duckdb_scalar_function_set_volatile, (handle function), (function))
SLOT(215, void, duckdb_scalar_function_add_parameter, (handle function, handle type), (function, type))
SLOT(216, void, duckdb_scalar_function_set_return_type, (handle function, handle type), (function, type))
SLOT(217, void, duckdb_scalar_function_set_extra_info,
     (handle function, void *data, release_function release), (function, data, release))
SLOT(218, void, duckdb_scalar_function_set_function, (handle function, scalar_function body),
     (function, body))
SLOT(219, int, duckdb_register_scalar_function, (handle connection, handle function),
     (connection, function))
SLOT(220, void *, duckdb_scalar_function_get_extra_info, (void *info), (info))
SLOT(221, void, duckdb_scalar_function_set_error, (void *info, const char *error), (info, error))
SLOT(226, handle, duckdb_create_aggregate_function, (void), ())
SLOT(227, void, duckdb_destroy_aggregate_function, (handle *function), (function))
SLOT(228, void, duckdb_aggregate_function_set_name, (handle function, const char *name), (function, name))
SLOT(229, void, duckdb_aggregate_function_add_parameter, (handle function, handle type), (function, type))
SLOT(230, void, duckdb_aggregate_function_set_return_type, (handle function, handle type),
     (function, type))
SLOT(231, void, duckdb_aggregate_function_set_functions,
     (handle function, idx_t (*size)(void *info), void (*init)(void *info, void *state),
      void (*update)(void *info, handle input, void **states),
      void (*combine)(void *info, void **sources, void **targets, idx_t count),
      void (*finalize)(void *info, void **states, handle result, idx_t count, idx_t offset)),
     (function, size, init, update, combine, finalize))
SLOT(232, void, duckdb_aggregate_function_set_destructor,
     (handle function, void (*destroy)(void **states, idx_t count)), (function, destroy))
SLOT(233, int, duckdb_register_aggregate_function, (handle connection, handle function),
     (connection, function))
SLOT(234, void, duckdb_aggregate_function_set_special_handling, (handle function), (function))
SLOT(235, void, duckdb_aggregate_function_set_extra_info,
     (handle function, void *data, release_function release), (function, data, release))
SLOT(236, void *, duckdb_aggregate_function_get_extra_info, (void *info), (info))
SLOT(237, void, duckdb_aggregate_function_set_error, (void *info, const char *error), (info, error))
SLOT(306, handle, duckdb_fetch_chunk, (duckdb_result result), (result))

/* Whether row `row` of a vector is there; `mask` is what duckdb_vector_get_validity() gave. */
static inline bool is_valid(const uint64_t *mask, idx_t row) { return !mask || mask[row >> 6] >> (row & 63) & 1; }

/* A string as DuckDB keeps it: up to 12 bytes lie inside. */
struct text {
	uint32_t size;
	char inlined[4]; /* and 8 bytes more */
	const char *pointer;
};
_Static_assert(sizeof(struct text) == 16, "DuckDB's strings take 16 bytes");
static inline const char *text_bytes(const struct text *text) { return text->size <= 12 ? text->inlined : text->pointer; }

static inline void set_null(handle vector, idx_t row) {
	duckdb_vector_ensure_validity_writable(vector);
	duckdb_vector_get_validity(vector)[row >> 6] &= ~((uint64_t)1 << (row & 63));
}

/* A list as DuckDB keeps it: a place in the vector of the elements. */
struct list {
	uint64_t from, count;
};
