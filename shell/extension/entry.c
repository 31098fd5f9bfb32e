/* What DuckDB calls at LOAD. */
#define _GNU_SOURCE
#include "functions.h"
#include <fcntl.h>
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
	for (int i = 0; i < KEPT_RUNS; i++)
		buffer_free(&session->runs[i].reply);
	buffer_free(&session->hello);
	free(session);
}

static void add_string(struct buffer *hello, const char *text) { buffer_add_text(hello, text, strlen(text)); }

/* Add the text that a query returns, or another one where there is no such table or setting. */
static void add_query(struct buffer *hello, handle connection, const char *sql, const char *otherwise) {
	duckdb_result result = {0};
	bool found = !duckdb_query(connection, sql, &result);
	handle chunk = found ? duckdb_fetch_chunk(result) : NULL;
	handle vector = chunk ? duckdb_data_chunk_get_vector(chunk, 0) : NULL;
	const struct text *text = vector ? duckdb_vector_get_data(vector) : NULL;
	if (text && duckdb_data_chunk_get_size(chunk) && is_valid(duckdb_vector_get_validity(vector), 0))
		buffer_add_text(hello, text_bytes(text), text->size);
	else
		add_string(hello, otherwise);
	if (chunk)
		duckdb_destroy_data_chunk(&chunk);
	duckdb_destroy_result(&result);
}

/* Add 32 hexadecimal digits that no other LOAD has. */
static void add_random_name(struct buffer *hello) {
	uint8_t bytes[16] = {0};
	char name[33];
	int source = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	if (source < 0 || read(source, bytes, sizeof bytes) < (ssize_t)sizeof bytes)
		hello->failed = true;
	close(source);
	for (int i = 0; i < 16; i++)
		snprintf(name + 2 * i, 3, "%02x", bytes[i]);
	add_string(hello, name);
}

static bool compose_hello(struct buffer *hello, handle connection) {
	static const uint32_t count = 10;
	char process[16], *directory = getcwd(NULL, 0);
	snprintf(process, sizeof process, "%d", (int)getpid());
	buffer_add(hello, &count, 4);
	add_string(hello, "1");
	add_string(hello, THRESHER_VERSION);
	add_string(hello, process);
	add_random_name(hello);
	add_query(hello, connection, "SELECT path FROM duckdb_databases() WHERE database_name = current_database()", "");
	add_query(hello, connection, "SELECT to_json(list({'kind': kind, 'name': name, 'sql': sql}))::VARCHAR "
	                             "FROM thresher.declarations", "[]");
	add_string(hello, isatty(STDERR_FILENO) ? "1" : "0");
	add_query(hello, connection, "SELECT current_setting('TimeZone')", "");
	add_string(hello, directory ? directory : "");
	add_query(hello, connection, "SELECT to_json(list({'name': name, 'learnt': base64(learnt)}))::VARCHAR "
	                             "FROM thresher.trained_proxies", "[]");
	free(directory);
	return !hello->failed;
}

/* DuckDB lends its functions for the time of the call only: they are copied. No connection is kept: a database that
 * has one never closes. */
__attribute__((visibility("default"))) bool thresher_init_c_api(void *info, struct duckdb_extension_access *access);
bool thresher_init_c_api(void *info, struct duckdb_extension_access *access) {
	const void *api = access->get_api(info, "v1.2.0");
	handle *database = api ? access->get_database(info) : NULL, connection = NULL;
	struct session *session = database ? calloc(1, sizeof *session) : NULL;
	if (!session)
		return false;
	memcpy(thresher_api, api, sizeof thresher_api);
	pthread_mutex_init(&session_hold(session)->lock, NULL);
	bool done = !duckdb_connect(*database, &connection) && compose_hello(&session->hello, connection) &&
	            register_feed(connection, session) && register_functions(connection, session);
	if (connection)
		duckdb_disconnect(&connection);
	session_release(session);
	if (!done)
		access->set_error(info, "thresher: the functions cannot be registered in this database");
	return done;
}
