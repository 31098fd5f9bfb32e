/* What DuckDB calls at LOAD. */
#define _GNU_SOURCE
#include "functions.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void (*thresher_api[THRESHER_SLOTS])(void);

struct session *session_hold(struct session *session) {
	__atomic_add_fetch(&session->references, 1, __ATOMIC_SEQ_CST);
	return session;
}

void session_release(void *data) {
	struct session *session = data;
	if (__atomic_sub_fetch(&session->references, 1, __ATOMIC_SEQ_CST))
		return;
	buffer_free(&session->hello);
	kept_runs_free(session->kept);
	free(session);
}

/* ---- what the first frame says ---- */

static void add_json_text(struct buffer *json, const char *text, uint32_t size) {
	buffer_add(json, "\"", 1);
	for (uint32_t i = 0; i < size; i++) {
		char escaped[8];
		if ((uint8_t)text[i] < ' ' || text[i] == '"' || text[i] == '\\')
			buffer_add(json, escaped, (uint64_t)snprintf(escaped, sizeof escaped, "\\u%04x", (uint8_t)text[i]));
		else
			buffer_add(json, text + i, 1);
	}
	buffer_add(json, "\"", 1);
}

/* Add rows of texts as a JSON list of objects with the keys given, or one text as it is if there are none. */
static void add_chunk(struct buffer *found, handle chunk, const char *const *keys, int n_keys) {
	for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk); row++)
		for (int i = 0; i < (n_keys ? n_keys : 1); i++) {
			handle vector = duckdb_data_chunk_get_vector(chunk, (idx_t)i);
			const struct text *text = (const struct text *)duckdb_vector_get_data(vector) + row;
			bool valid = is_valid(duckdb_vector_get_validity(vector), row);
			const char *bytes = valid ? text_bytes(text) : "";
			uint32_t size = valid ? text->size : 0;
			if (!n_keys) {
				buffer_add(found, bytes, size);
				continue;
			}
			buffer_add(found, i ? "," : found->size > 1 ? ",{" : "{", i || found->size <= 1 ? 1 : 2);
			add_json_text(found, keys[i], (uint32_t)strlen(keys[i]));
			buffer_add(found, ":", 1);
			add_json_text(found, bytes, size);
			if (i == n_keys - 1)
				buffer_add(found, "}", 1);
		}
}

/* Run a query of texts; a table or setting that is not there leaves nothing. */
static struct buffer query(handle connection, const char *sql, const char *const *keys, int n_keys) {
	struct buffer found = {0};
	duckdb_result result = {0};
	if (n_keys)
		buffer_add(&found, "[", 1);
	bool done = !duckdb_query(connection, sql, &result);
	for (handle chunk; done && (chunk = duckdb_fetch_chunk(result)); duckdb_destroy_data_chunk(&chunk))
		add_chunk(&found, chunk, keys, n_keys);
	duckdb_destroy_result(&result);
	if (n_keys)
		buffer_add(&found, "]", 1);
	return found;
}

static bool add_hello_text(struct buffer *hello, const char *text) { return buffer_add_text(hello, text, strlen(text)); }

static bool add_query(struct buffer *hello, struct buffer found) {
	bool done = buffer_add_text(hello, found.bytes ? (const char *)found.bytes : "", found.size);
	buffer_free(&found);
	return done;
}

/* 32 hexadecimal digits that no other LOAD has. */
static bool random_name(char name[33]) {
	uint8_t bytes[16];
	int source = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	bool done = source >= 0 && read(source, bytes, sizeof bytes) == sizeof bytes;
	if (source >= 0)
		close(source);
	for (int i = 0; done && i < 16; i++)
		snprintf(name + 2 * i, 3, "%02x", bytes[i]);
	return done;
}

static bool compose_hello(struct buffer *hello, handle connection) {
	static const char *const keys[] = {"kind", "name", "sql"};
	uint32_t count = 9;
	char process[16], name[33], *directory = getcwd(NULL, 0);
	snprintf(process, sizeof process, "%d", (int)getpid());
	bool done = random_name(name) && buffer_add(hello, &count, 4) && add_hello_text(hello, "1") &&
	            add_hello_text(hello, THRESHER_VERSION) && add_hello_text(hello, process) &&
	            add_hello_text(hello, name) &&
	            add_query(hello, query(connection, "SELECT coalesce(path, '') FROM duckdb_databases() "
	                                               "WHERE database_name = current_database()", NULL, 0)) &&
	            add_query(hello, query(connection, "SELECT kind, name, sql FROM thresher.declarations", keys, 3)) &&
	            add_hello_text(hello, isatty(STDERR_FILENO) ? "1" : "0") &&
	            add_query(hello, query(connection, "SELECT current_setting('TimeZone')", NULL, 0)) &&
	            add_hello_text(hello, directory ? directory : "");
	free(directory);
	return done;
}

/* DuckDB hands over its functions only for the time of the call: they are copied. No connection is kept: a
 * database that has one never closes. */
__attribute__((visibility("default"))) bool thresher_init_c_api(void *info, struct duckdb_extension_access *access);
bool thresher_init_c_api(void *info, struct duckdb_extension_access *access) {
	const void *api = access->get_api(info, "v1.2.0");
	handle *database = access->get_database(info), connection = NULL;
	struct session *session = calloc(1, sizeof *session);
	if (!api || !database || !session) {
		free(session);
		return false;
	}
	memcpy(thresher_api, api, sizeof thresher_api);
	session_hold(session);
	bool done = !duckdb_connect(*database, &connection) && compose_hello(&session->hello, connection) &&
	            register_feed(connection, session) && register_functions(connection, session);
	if (!done)
		access->set_error(info, "thresher: the functions cannot be registered in this database");
	if (connection)
		duckdb_disconnect(&connection);
	session_release(session);
	return done;
}
