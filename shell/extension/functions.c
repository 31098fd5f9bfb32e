/* thresh_plan, thresh_keep and thresh_rows. */
#include "functions.h"
#include <stdlib.h>

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

static void add_text_at(struct buffer *payload, struct argument column, idx_t row) {
	const struct text *text = (const struct text *)column.data + row;
	bool valid = is_valid(column.valid, row);
	buffer_add_text(payload, valid ? text_bytes(text) : NULL, valid ? text->size : 0);
}

static bool malformed(struct link *link) { return link_fail(link, "thresher: the worker's reply is malformed"); }

/* thresh_plan(q VARCHAR, clauses VARCHAR) -> VARCHAR */
static void plan(void *info, handle input, handle output) {
	struct argument texts = argument(input, 0), clauses = argument(input, 1);
	bool done = true;
	uint32_t two = 2;
	for (idx_t row = 0; done && row < duckdb_data_chunk_get_size(input); row++) {
		struct link link = LINK(duckdb_scalar_function_get_extra_info(info));
		struct buffer payload = {0};
		buffer_add(&payload, &two, 4);
		add_text_at(&payload, texts, row);
		add_text_at(&payload, clauses, row);
		done = link_ask(&link, 'P', &payload) && (is_utf8(link.reply.bytes, link.reply.size) || malformed(&link));
		if (done)
			duckdb_vector_assign_string_element_len(output, row, (const char *)link.reply.bytes, link.reply.size);
		else
			duckdb_scalar_function_set_error(info, link.error);
		buffer_free(&payload);
		link_close(&link);
	}
}

/* Find the bits of a run, which are fetched once; the session's lock is held. */
static struct kept_run *find_run(struct link *link, int64_t run) {
	struct session *session = link->session;
	struct buffer payload = {(uint8_t *)&run, 8, 8, false};
	struct kept_run *kept = session->runs;
	while (kept < session->runs + KEPT_RUNS && kept->run != run)
		kept++;
	if (kept < session->runs + KEPT_RUNS)
		return kept;
	if (!link_ask(link, 'K', &payload))
		return NULL;
	struct reader reader = {link->reply.bytes, link->reply.size};
	uint64_t bits;
	if (!read_bytes(&reader, &bits, 8) || bits > 8 * reader.left || reader.left != (bits + 7) / 8)
		return malformed(link), NULL;
	kept = session->runs + session->next;
	session->next = (session->next + 1) % KEPT_RUNS;
	buffer_free(&kept->reply);
	*kept = (struct kept_run){run, link->reply};
	link->reply = (struct buffer){0};
	return kept;
}

/* thresh_keep(text VARCHAR, run BIGINT, n BIGINT) -> BOOLEAN */
static void keep(void *info, handle input, handle output) {
	struct argument runs = argument(input, 1), numbers = argument(input, 2);
	bool *result = duckdb_vector_get_data(output), done = true;
	struct link link = LINK(duckdb_scalar_function_get_extra_info(info));
	struct kept_run *kept = NULL;
	pthread_mutex_lock(&link.session->lock);
	for (idx_t row = 0; done && row < duckdb_data_chunk_get_size(input); row++) {
		int64_t run = number_at(runs, row, 0), n = number_at(numbers, row, -1);
		result[row] = false;
		if (run <= 0 || n < 0)
			continue;
		if (!kept || kept->run != run)
			done = (kept = find_run(&link, run)) != NULL;
		if (done)
			result[row] = (uint64_t)n < *(uint64_t *)kept->reply.bytes && kept->reply.bytes[8 + (n >> 3)] >> (n & 7) & 1;
	}
	pthread_mutex_unlock(&link.session->lock);
	if (!done)
		duckdb_scalar_function_set_error(info, link.error);
	link_close(&link);
}

/* Append one row's texts to the innermost vector, and its place there to the one around it. */
static bool add_cells(struct reader *reader, handle lists, uint64_t list, uint64_t *n_cells) {
	uint32_t count, size;
	const char *text;
	if (!read_bytes(reader, &count, 4) || count > reader->left / 4 || duckdb_list_vector_reserve(lists, *n_cells + count))
		return false;
	handle cells = duckdb_list_vector_get_child(lists);
	((struct list *)duckdb_vector_get_data(lists))[list] = (struct list){*n_cells, count};
	for (uint32_t i = 0; i < count; i++, ++*n_cells) {
		if (!read_text(reader, &text, &size))
			return false;
		if (text)
			duckdb_vector_assign_string_element_len(cells, *n_cells, text, size);
		else
			set_null(cells, *n_cells);
	}
	return true;
}

static bool add_rows(struct reader reader, handle output, idx_t row, uint64_t *n_lists, uint64_t *n_cells) {
	uint32_t count;
	if (!read_bytes(&reader, &count, 4) || count > reader.left / 4 || duckdb_list_vector_reserve(output, *n_lists + count))
		return false;
	handle lists = duckdb_list_vector_get_child(output);
	((struct list *)duckdb_vector_get_data(output))[row] = (struct list){*n_lists, count};
	for (uint32_t i = 0; i < count; i++)
		if (!add_cells(&reader, lists, (*n_lists)++, n_cells))
			return false;
	duckdb_list_vector_set_size(lists, *n_cells);
	duckdb_list_vector_set_size(output, *n_lists);
	return !reader.left;
}

/* thresh_rows(text VARCHAR, run BIGINT) -> VARCHAR[][] */
static void rows(void *info, handle input, handle output) {
	struct argument texts = argument(input, 0), runs = argument(input, 1);
	uint64_t n_lists = 0, n_cells = 0;
	bool done = true;
	uint32_t one = 1;
	for (idx_t row = 0; done && row < duckdb_data_chunk_get_size(input); row++) {
		struct link link = LINK(duckdb_scalar_function_get_extra_info(info));
		struct buffer payload = {0};
		int64_t run = number_at(runs, row, 0);
		buffer_add(&payload, &run, 8);
		buffer_add(&payload, &one, 4);
		add_text_at(&payload, texts, row);
		done = link_ask(&link, 'R', &payload);
		struct reader reader = {link.reply.bytes, link.reply.size};
		done = done && (add_rows(reader, output, row, &n_lists, &n_cells) || malformed(&link));
		if (!done)
			duckdb_scalar_function_set_error(info, link.error);
		buffer_free(&payload);
		link_close(&link);
	}
}

/* A type by letters: t for VARCHAR, n for BIGINT, b for BOOLEAN, l for a list of what follows. */
static handle type_of(const char *letters) {
	if (*letters != 'l')
		return duckdb_create_logical_type(*letters == 't' ? TYPE_VARCHAR : *letters == 'n' ? TYPE_BIGINT : TYPE_BOOLEAN);
	handle child = type_of(letters + 1), list = duckdb_create_list_type(child);
	duckdb_destroy_logical_type(&child);
	return list;
}

static bool register_scalar(handle connection, struct session *session, const char *name, const char *parameters,
                            const char *returns, scalar_function body) {
	handle function = duckdb_create_scalar_function(), type = type_of(returns);
	duckdb_scalar_function_set_name(function, name);
	duckdb_scalar_function_set_return_type(function, type);
	duckdb_destroy_logical_type(&type);
	for (; *parameters; parameters++) {
		type = type_of(parameters);
		duckdb_scalar_function_add_parameter(function, type);
		duckdb_destroy_logical_type(&type);
	}
	duckdb_scalar_function_set_special_handling(function); /* NULL arguments mean something */
	if (body == rows)
		duckdb_scalar_function_set_volatile(function);
	duckdb_scalar_function_set_extra_info(function, session_hold(session), session_release);
	duckdb_scalar_function_set_function(function, body);
	bool done = !duckdb_register_scalar_function(connection, function);
	duckdb_destroy_scalar_function(&function);
	return done;
}

bool register_functions(handle connection, struct session *session) {
	return register_scalar(connection, session, "thresh_plan", "tt", "t", plan) &&
	       register_scalar(connection, session, "thresh_keep", "tnn", "b", keep) &&
	       register_scalar(connection, session, "thresh_rows", "tn", "llt", rows);
}
