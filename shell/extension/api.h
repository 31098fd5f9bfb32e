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
struct duckdb_extension_access {
	void (*set_error)(void *info, const char *error);
	handle *(*get_database)(void *info);
	const void *(*get_api)(void *info, const char *version);
};
enum { THRESHER_SLOTS = 404 };
extern void (*thresher_api[THRESHER_SLOTS])(void);

enum duckdb_type {
	TYPE_VARCHAR = 17, TYPE_BLOB, TYPE_DECIMAL, TYPE_ENUM = 23, TYPE_LIST, TYPE_STRUCT, TYPE_MAP, TYPE_ARRAY = 33, TYPE_ANY
};

/* A function of the API: its slot, what it returns, what it takes. */
#define SLOT(slot, result, ...) ((result(*)(__VA_ARGS__))thresher_api[slot])
#define duckdb_connect SLOT(3, int, handle database, handle *connection)
#define duckdb_disconnect SLOT(6, void, handle *connection)
#define duckdb_free SLOT(25, void, void *memory)
#define duckdb_create_logical_type SLOT(156, handle, int type)
#define duckdb_get_type_id SLOT(166, int, handle type)
#define duckdb_decimal_width SLOT(167, uint8_t, handle type)
#define duckdb_decimal_scale SLOT(168, uint8_t, handle type)
#define duckdb_enum_dictionary_size SLOT(171, uint32_t, handle type)
#define duckdb_enum_dictionary_value SLOT(172, char *, handle type, idx_t index)
#define duckdb_list_type_child_type SLOT(173, handle, handle type)
#define duckdb_array_type_child_type SLOT(174, handle, handle type)
#define duckdb_array_type_array_size SLOT(175, idx_t, handle type)
#define duckdb_struct_type_child_count SLOT(178, idx_t, handle type)
#define duckdb_struct_type_child_name SLOT(179, char *, handle type, idx_t index)
#define duckdb_struct_type_child_type SLOT(180, handle, handle type, idx_t index)
#define duckdb_destroy_logical_type SLOT(184, void, handle *type)
#define duckdb_data_chunk_get_vector SLOT(190, handle, handle chunk, idx_t column)
#define duckdb_data_chunk_get_size SLOT(191, idx_t, handle chunk)
#define duckdb_vector_get_column_type SLOT(193, handle, handle vector)
#define duckdb_vector_get_data SLOT(194, void *, handle vector)
#define duckdb_vector_get_validity SLOT(195, const uint64_t *, handle vector)
#define duckdb_vector_assign_string_element_len SLOT(198, void, handle vector, idx_t row, const void *text, idx_t size)
#define duckdb_list_vector_get_child SLOT(199, handle, handle vector)
#define duckdb_struct_vector_get_child SLOT(203, handle, handle vector, idx_t index)
#define duckdb_array_vector_get_child SLOT(204, handle, handle vector)
#define duckdb_create_scalar_function SLOT(209, handle, void)
#define duckdb_destroy_scalar_function SLOT(210, void, handle *function)
#define duckdb_scalar_function_set_name SLOT(211, void, handle function, const char *name)
#define duckdb_scalar_function_set_special_handling SLOT(213, void, handle function)
#define duckdb_scalar_function_add_parameter SLOT(215, void, handle function, handle type)
#define duckdb_scalar_function_set_return_type SLOT(216, void, handle function, handle type)
#define duckdb_scalar_function_set_extra_info SLOT(217, void, handle function, void *data, void *release)
#define duckdb_scalar_function_set_function SLOT(218, void, handle function, void *body)
#define duckdb_register_scalar_function SLOT(219, int, handle connection, handle function)
#define duckdb_scalar_function_get_extra_info SLOT(220, void *, void *info)
#define duckdb_scalar_function_set_error SLOT(221, void, void *info, const void *error)
#define duckdb_create_aggregate_function SLOT(226, handle, void)
#define duckdb_destroy_aggregate_function SLOT(227, void, handle *function)
#define duckdb_aggregate_function_set_name SLOT(228, void, handle function, const char *name)
#define duckdb_aggregate_function_add_parameter SLOT(229, void, handle function, handle type)
#define duckdb_aggregate_function_set_return_type SLOT(230, void, handle function, handle type)
#define duckdb_aggregate_function_set_functions SLOT(231, void, handle function, void *, void *, void *, void *, void *)
#define duckdb_aggregate_function_set_destructor SLOT(232, void, handle function, void *destroy)
#define duckdb_register_aggregate_function SLOT(233, int, handle connection, handle function)
#define duckdb_aggregate_function_set_extra_info SLOT(235, void, handle function, void *data, void *release)
#define duckdb_aggregate_function_get_extra_info SLOT(236, void *, void *info)
#define duckdb_aggregate_function_set_error SLOT(237, void, void *info, const void *error)

/* Whether row `row` of a vector is there; `mask` is what duckdb_vector_get_validity() gave. */
static inline bool is_valid(const uint64_t *mask, idx_t row) { return !mask || mask[row >> 6] >> (row & 63) & 1; }

/* A string as DuckDB keeps it: up to 12 bytes lie inside. */
struct text {
	uint32_t size;
	char inlined[4]; /* and 8 bytes more */
	const char *pointer;
};
_Static_assert(sizeof(struct text) == 16, "DuckDB's strings take 16 bytes");
static inline const char *text_bytes(const struct text *t) { return t->size <= 12 ? t->inlined : t->pointer; }

/* A list as DuckDB keeps it: a place in the vector of the elements. */
struct list { uint64_t from, count; };
