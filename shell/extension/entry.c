/* What DuckDB calls at LOAD. */
#define _GNU_SOURCE
#include "thresher.h"
#include <stdlib.h>
#include <string.h>

void (*thresher_api[THRESHER_SLOTS])(void);

static void add_text_at(struct buffer *payload, handle vector, idx_t row) {
	const struct text *text = (const struct text *)duckdb_vector_get_data(vector) + row;
	bool valid = is_valid(duckdb_vector_get_validity(vector), row);
	buffer_add_text(payload, valid ? text_bytes(text) : NULL, valid ? text->size : 0);
}

/* Keep the first frame of every connection: protocol, version, and what the shell says of itself at first. */
static void compose_hello(struct session *session, handle texts, idx_t row) {
	if (session->hello.size)
		return;
	buffer_add(&session->hello, &(uint32_t){3}, 4);
	buffer_add_text(&session->hello, "2", 1);
	buffer_add_text(&session->hello, THRESHER_VERSION, strlen(THRESHER_VERSION));
	add_text_at(&session->hello, texts, row);
}

/* thresh_plan(q VARCHAR, clauses VARCHAR) -> BLOB: the SQL that answers a statement. Without a statement the other
 * text is what the shell says of itself. */
static void plan(void *info, handle input, handle output) {
	handle statements = duckdb_data_chunk_get_vector(input, 0), texts = duckdb_data_chunk_get_vector(input, 1);
	struct session *session = duckdb_scalar_function_get_extra_info(info);
	bool done = true;
	for (idx_t row = 0; done && row < duckdb_data_chunk_get_size(input); row++) {
		struct link link = LINK(session);
		struct buffer payload = {0};
		buffer_add(&payload, &(uint32_t){2}, 4);
		add_text_at(&payload, statements, row);
		add_text_at(&payload, texts, row);
		if (!is_valid(duckdb_vector_get_validity(statements), row))
			compose_hello(session, texts, row);
		else if (!(done = link_call(&link, 'P', &payload, true)))
			duckdb_scalar_function_set_error(info, link.reply.bytes);
		if (done)
			duckdb_vector_assign_string_element_len(output, row, link.reply.bytes, link.reply.size);
		buffer_free(&payload);
		link_close(&link);
	}
}

static bool register_plan(handle connection, struct session *session) {
	handle function = duckdb_create_scalar_function();
	handle text = duckdb_create_logical_type(TYPE_VARCHAR), blob = duckdb_create_logical_type(TYPE_BLOB);
	duckdb_scalar_function_set_name(function, "thresh_plan");
	duckdb_scalar_function_add_parameter(function, text);
	duckdb_scalar_function_add_parameter(function, text);
	duckdb_scalar_function_set_return_type(function, blob);
	duckdb_scalar_function_set_special_handling(function); /* NULL arguments mean something */
	duckdb_scalar_function_set_extra_info(function, session, NULL);
	duckdb_scalar_function_set_function(function, plan);
	bool done = !duckdb_register_scalar_function(connection, function);
	duckdb_destroy_scalar_function(&function);
	duckdb_destroy_logical_type(&text);
	duckdb_destroy_logical_type(&blob);
	return done;
}

/* DuckDB lends its functions for the time of the call only: they are copied. No connection is kept: a database that
 * has one never closes. */
__attribute__((visibility("default"))) bool thresher_init_c_api(void *info, struct duckdb_extension_access *access) {
	const void *api = access->get_api(info, "v1.2.0");
	handle *database = api ? access->get_database(info) : NULL, con = NULL;
	struct session *session = database ? calloc(1, sizeof *session) : NULL;
	if (!session)
		return false;
	memcpy(thresher_api, api, sizeof thresher_api);
	pthread_mutex_init(&session->lock, NULL);
	bool done = !duckdb_connect(*database, &con) && register_feed(con, session) && register_plan(con, session);
	if (con)
		duckdb_disconnect(&con);
	if (!done)
		access->set_error(info, "thresher: the functions cannot be registered in this database");
	return done;
}
