/* thresh_plan, thresh_keep and thresh_rows. */
#include "functions.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading arguments, asking ---- */

struct argument {
	const void *data;
	const uint64_t *valid;
};

static struct argument argument(handle input, idx_t index) {
	handle vector = duckdb_data_chunk_get_vector(input, index);
	return (struct argument){duckdb_vector_get_data(vector), duckdb_vector_get_validity(vector)};
}

static int64_t number_at(struct argument column, idx_t row, int64_t missing) {
	return is_valid(column.valid, row) ? ((const int64_t *)column.data)[row] : missing;
}

static bool add_text_at(struct buffer *payload, struct argument column, idx_t row) {
	const struct text *text = (const struct text *)column.data + row;
	bool valid = is_valid(column.valid, row);
	return buffer_add_text(payload, valid ? text_bytes(text) : NULL, valid ? text->size : 0);
}

static bool ask(struct link *link, char type, const struct buffer *payload) {
	struct parts parts = {0};
	bool done = (parts_add(&parts, payload->bytes, payload->size) || link_fail(link, "thresher: out of memory")) &&
	            link_ask(link, type, &parts);
	free(parts.items);
	return done;
}

static bool malformed(struct link *link) { return link_fail(link, "thresher: the worker's reply is malformed"); }

/* ---- thresh_plan(q VARCHAR, clauses VARCHAR) -> VARCHAR ---- */

static void plan(void *info, handle input, handle output) {
	struct argument texts = argument(input, 0), clauses = argument(input, 1);
	idx_t count = duckdb_data_chunk_get_size(input);
	uint32_t two = 2;
	for (idx_t row = 0; row < count; row++) {
		struct link link = LINK(duckdb_scalar_function_get_extra_info(info));
		struct buffer payload = {0};
		bool done = (buffer_add(&payload, &two, 4) && add_text_at(&payload, texts, row) &&
		             add_text_at(&payload, clauses, row)) || link_fail(&link, "thresher: out of memory");
		done = done && ask(&link, 'P', &payload) &&
		       (is_utf8(link.reply.bytes, link.reply.size) || malformed(&link));
		if (done)
			duckdb_vector_assign_string_element_len(output, row, (const char *)link.reply.bytes, link.reply.size);
		else
			duckdb_scalar_function_set_error(info, link.error);
		buffer_free(&payload);
		link_close(&link);
		if (!done)
			return;
	}
}

/* ---- thresh_keep(text VARCHAR, run BIGINT, n BIGINT) -> BOOLEAN ---- */

enum { KEPT_RUNS = 16 };
struct kept_run {
	int64_t run; /* 0: none */
	uint64_t bits;
	struct buffer reply; /* u64 bits, then one bit a row */
};
struct kept_runs {
	pthread_mutex_t lock;
	uint32_t worker, next;
	struct kept_run runs[KEPT_RUNS];
};

static struct kept_runs *kept_runs(struct session *session) {
	static pthread_mutex_t creating = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock(&creating);
	if (!session->kept && (session->kept = calloc(1, sizeof *session->kept)))
		pthread_mutex_init(&session->kept->lock, NULL);
	pthread_mutex_unlock(&creating);
	return session->kept;
}

void kept_runs_of(struct session *session, uint32_t worker) {
	struct kept_runs *kept = kept_runs(session);
	if (!kept)
		return;
	pthread_mutex_lock(&kept->lock);
	for (int i = 0; i < KEPT_RUNS && kept->worker != worker; i++)
		kept->runs[i].run = 0;
	kept->worker = worker;
	pthread_mutex_unlock(&kept->lock);
}

void kept_runs_free(struct kept_runs *kept) {
	for (int i = 0; kept && i < KEPT_RUNS; i++)
		buffer_free(&kept->runs[i].reply);
	free(kept);
}

static bool fetch_run(struct link *link, struct kept_run *kept, int64_t run) {
	struct buffer payload = {(uint8_t *)&run, 8, 8};
	if (!ask(link, 'K', &payload))
		return false;
	struct reader reader = {link->reply.bytes, link->reply.size};
	uint64_t bits;
	if (!read_bytes(&reader, &bits, 8) || bits > 8 * reader.left || reader.left != (bits + 7) / 8)
		return malformed(link);
	buffer_free(&kept->reply);
	*kept = (struct kept_run){run, bits, link->reply};
	link->reply = (struct buffer){0};
	return true;
}

/* Find the bits of a run, fetching them if need be; the lock is held. */
static struct kept_run *find_run(struct link *link, struct kept_runs *kept, int64_t run) {
	for (int i = 0; i < KEPT_RUNS; i++)
		if (kept->runs[i].run == run)
			return kept->runs + i;
	struct kept_run *oldest = kept->runs + kept->next;
	if (!fetch_run(link, oldest, run))
		return NULL;
	kept->next = (kept->next + 1) % KEPT_RUNS;
	return oldest;
}

static void keep(void *info, handle input, handle output) {
	struct argument runs = argument(input, 1), numbers = argument(input, 2);
	bool *result = duckdb_vector_get_data(output);
	idx_t count = duckdb_data_chunk_get_size(input);
	struct link link = LINK(duckdb_scalar_function_get_extra_info(info));
	struct kept_runs *kept = kept_runs(link.session);
	struct kept_run *found = NULL;
	bool done = kept || link_fail(&link, "thresher: out of memory");
	if (done)
		pthread_mutex_lock(&kept->lock);
	for (idx_t row = 0; done && row < count; row++) {
		int64_t run = number_at(runs, row, 0), n = number_at(numbers, row, -1);
		result[row] = false;
		if (run <= 0 || n < 0)
			continue;
		if ((!found || found->run != run) && !(done = (found = find_run(&link, kept, run))))
			break;
		const uint8_t *bits = found->reply.bytes + 8;
		result[row] = (uint64_t)n < found->bits && bits[n >> 3] >> (n & 7) & 1;
	}
	if (kept)
		pthread_mutex_unlock(&kept->lock);
	if (!done)
		duckdb_scalar_function_set_error(info, link.error);
	link_close(&link);
}

/* ---- thresh_rows(text VARCHAR, run BIGINT) -> VARCHAR[][] ---- */

struct entry {
	uint64_t offset, length;
};

/* Append one row's texts to the innermost vector. */
static bool add_cells(struct reader *reader, handle lists, uint64_t list, uint64_t *n_cells) {
	handle cells = duckdb_list_vector_get_child(lists);
	uint32_t count, size;
	const char *text;
	if (!read_bytes(reader, &count, 4) || count > reader->left / 4 ||
	    duckdb_list_vector_reserve(cells ? lists : NULL, *n_cells + count))
		return false;
	cells = duckdb_list_vector_get_child(lists);
	((struct entry *)duckdb_vector_get_data(lists))[list] = (struct entry){*n_cells, count};
	for (uint32_t i = 0; i < count; i++, ++*n_cells) {
		if (!read_text(reader, &text, &size))
			return false;
		if (text)
			duckdb_vector_assign_string_element_len(cells, *n_cells, text, size);
		else {
			duckdb_vector_ensure_validity_writable(cells);
			duckdb_vector_get_validity(cells)[*n_cells >> 6] &= ~((uint64_t)1 << (*n_cells & 63));
		}
	}
	return true;
}

static bool add_rows(struct reader reader, handle output, idx_t row, uint64_t *n_lists, uint64_t *n_cells) {
	uint32_t count;
	if (!read_bytes(&reader, &count, 4) || count > reader.left / 4 ||
	    duckdb_list_vector_reserve(output, *n_lists + count))
		return false;
	handle lists = duckdb_list_vector_get_child(output);
	((struct entry *)duckdb_vector_get_data(output))[row] = (struct entry){*n_lists, count};
	for (uint32_t i = 0; i < count; i++)
		if (!add_cells(&reader, lists, (*n_lists)++, n_cells))
			return false;
	duckdb_list_vector_set_size(lists, *n_cells);
	duckdb_list_vector_set_size(output, *n_lists);
	return !reader.left;
}

static void rows(void *info, handle input, handle output) {
	struct argument texts = argument(input, 0), runs = argument(input, 1);
	idx_t count = duckdb_data_chunk_get_size(input);
	uint64_t n_lists = 0, n_cells = 0;
	uint32_t one = 1;
	for (idx_t row = 0; row < count; row++) {
		struct link link = LINK(duckdb_scalar_function_get_extra_info(info));
		struct buffer payload = {0};
		int64_t run = number_at(runs, row, 0);
		bool done = (buffer_add(&payload, &run, 8) && buffer_add(&payload, &one, 4) &&
		             add_text_at(&payload, texts, row)) || link_fail(&link, "thresher: out of memory");
		done = done && ask(&link, 'R', &payload);
		struct reader reader = {link.reply.bytes, link.reply.size};
		done = done && (add_rows(reader, output, row, &n_lists, &n_cells) || malformed(&link));
		if (!done)
			duckdb_scalar_function_set_error(info, link.error);
		buffer_free(&payload);
		link_close(&link);
		if (!done)
			return;
	}
}

/* ---- registration ---- */

static handle list_of_lists_of_text(void) {
	handle text = duckdb_create_logical_type(TYPE_VARCHAR), inner = duckdb_create_list_type(text);
	handle outer = duckdb_create_list_type(inner);
	duckdb_destroy_logical_type(&text);
	duckdb_destroy_logical_type(&inner);
	return outer;
}

/* Parameters are given as letters: t for VARCHAR, n for BIGINT. */
static bool register_scalar(handle connection, struct session *session, const char *name, const char *parameters,
                            handle returns, bool is_volatile, scalar_function body) {
	handle function = duckdb_create_scalar_function();
	duckdb_scalar_function_set_name(function, name);
	for (; *parameters; parameters++) {
		handle type = duckdb_create_logical_type(*parameters == 't' ? TYPE_VARCHAR : TYPE_BIGINT);
		duckdb_scalar_function_add_parameter(function, type);
		duckdb_destroy_logical_type(&type);
	}
	duckdb_scalar_function_set_return_type(function, returns);
	duckdb_destroy_logical_type(&returns);
	duckdb_scalar_function_set_special_handling(function); /* NULL arguments mean something */
	if (is_volatile)
		duckdb_scalar_function_set_volatile(function);
	duckdb_scalar_function_set_extra_info(function, session_hold(session), session_release);
	duckdb_scalar_function_set_function(function, body);
	bool done = !duckdb_register_scalar_function(connection, function);
	duckdb_destroy_scalar_function(&function);
	return done;
}

bool register_functions(handle connection, struct session *session) {
	handle text = duckdb_create_logical_type(TYPE_VARCHAR), truth = duckdb_create_logical_type(TYPE_BOOLEAN);
	return register_scalar(connection, session, "thresh_plan", "tt", text, false, plan) &&
	       register_scalar(connection, session, "thresh_keep", "tnn", truth, false, keep) &&
	       register_scalar(connection, session, "thresh_rows", "tn", list_of_lists_of_text(), true, rows);
}
