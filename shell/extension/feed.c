/* thresh_feed(text VARCHAR, row STRUCT) -> BLOB: stream the rows of a statement to the worker, run it there, and return
 * its answer. Without rows nothing is run, and the answer is empty. */
#include "thresher.h"
#include <stdlib.h>
#include <unistd.h>

enum { FRAME_ROWS = 65536, FRAME_BYTES = 16 << 20, SLICE_ROWS = 32 };
static const char GROUPED[] = "thresh_feed() takes all rows of a statement: it cannot be grouped";

/* The rows that one thread has seen; combine() joins threads. */
struct feed {
	struct link link;
	struct column row;
	uint64_t weight; /* about the bytes that wait to be sent */
	struct buffer frame;
	struct buffer joined; /* what the worker calls the rows of other threads, which have ended */
	struct buffer held;   /* their connections: the worker drops the rows of one that closes */
};

static bool begin(struct feed *feed, handle texts, handle rows) {
	const struct text *text = is_valid(duckdb_vector_get_validity(texts), 0) ? duckdb_vector_get_data(texts) : NULL;
	handle type = duckdb_vector_get_column_type(rows);
	buffer_add(&feed->frame, &(uint32_t){1}, 4);
	buffer_add_text(&feed->frame, text ? text_bytes(text) : NULL, text ? text->size : 0);
	column_create(&feed->row, type, &feed->frame);
	duckdb_destroy_logical_type(&type);
	return link_call(&feed->link, 'F', &feed->frame, true);
}

static bool flush(struct feed *feed) {
	uint32_t head[2] = {(uint32_t)feed->row.rows, 0};
	if (!head[0] && !feed->row.chosen.failed && !feed->row.validity.failed)
		return true;
	feed->weight = feed->frame.size = 0;
	buffer_add(&feed->frame, head, sizeof head);
	column_write(&feed->row, &feed->frame);
	return link_call(&feed->link, 'D', &feed->frame, false);
}

/* Append rows, few at a time: they may be long. */
static bool append(struct feed *feed, handle rows, idx_t count) {
	uint64_t chosen[SLICE_ROWS];
	for (idx_t start = 0, some; start < count; start += some) {
		some = count - start < SLICE_ROWS ? count - start : SLICE_ROWS;
		for (idx_t i = 0; i < some; i++)
			chosen[i] = start + i;
		feed->weight += column_append(&feed->row, rows, chosen, some);
		if ((feed->weight > FRAME_BYTES || feed->row.rows > FRAME_ROWS - SLICE_ROWS) && !flush(feed))
			return false;
	}
	return true;
}

static void release(struct feed **state) {
	struct feed *feed = *state;
	*state = NULL;
	if (!feed)
		return;
	for (uint64_t at = 0; at < feed->held.size; at += sizeof(int))
		close(*(int *)(void *)(feed->held.bytes + at));
	link_close(&feed->link);
	column_free(&feed->row);
	buffer_free(&feed->frame);
	buffer_free(&feed->joined);
	buffer_free(&feed->held);
	free(feed);
}

/* End the query. The state goes at once: DuckDB does not destroy those of a query that fails at its end. */
static void fail(void *info, struct feed **state) {
	duckdb_aggregate_function_set_error(info, (*state)->link.reply.bytes);
	release(state);
}

static idx_t state_size(void *info) { return (void)info, sizeof(struct feed *); }

static void init(void *info, void *state) { *(struct feed **)state = ((void)info, NULL); }

static void update(void *info, handle input, void **states) {
	handle texts = duckdb_data_chunk_get_vector(input, 0), rows = duckdb_data_chunk_get_vector(input, 1);
	idx_t count = duckdb_data_chunk_get_size(input);
	struct feed **state = count ? states[0] : NULL;
	bool first = state && !*state, grouped = false;
	for (idx_t i = 1; i < count; i++)
		grouped |= states[i] != states[0];
	if (grouped || (first && !(*state = calloc(1, sizeof **state))))
		duckdb_aggregate_function_set_error(info, grouped ? GROUPED : NO_MEMORY);
	else if (state) {
		if (first)
			(*state)->link = (struct link)LINK(duckdb_aggregate_function_get_extra_info(info));
		if ((first && !begin(*state, texts, rows)) || !append(*state, rows, count))
			fail(info, state);
	}
}

/* End the source's rows, and remember their name in the target. */
static bool join(struct feed *source, struct feed *target) {
	if (!flush(source) || !link_call(&source->link, 'W', &(struct buffer){0}, true))
		return link_fail(&target->link, (char *)source->link.reply.bytes);
	buffer_add(&target->joined, source->link.reply.bytes, source->link.reply.size);
	buffer_add(&target->joined, source->joined.bytes, source->joined.size);
	buffer_add(&target->held, &source->link.fd, sizeof(int));
	buffer_add(&target->held, source->held.bytes, source->held.size);
	source->held.size = 0;
	source->link.fd = -1;
	return true;
}

static void combine(void *info, void **sources, void **targets, idx_t count) {
	for (idx_t i = 0; i < count; i++) {
		struct feed **source = sources[i], **target = targets[i];
		if (*source && *target && !join(*source, *target)) {
			fail(info, target);
			release(source);
		} else if (*source && !*target) {
			*target = *source;
			*source = NULL;
		}
	}
}

static void finalize(void *info, void **states, handle result, idx_t count, idx_t offset) {
	struct feed **state = states[0], none = {0}, *feed = *state ? *state : &none;
	if (count > 1)
		duckdb_aggregate_function_set_error(info, GROUPED);
	for (idx_t i = 0; count > 1 && i < count; i++)
		release(states[i]);
	if (count == 1 && *state && !(flush(feed) && link_call(&feed->link, 'G', &feed->joined, true)))
		fail(info, state);
	else if (count == 1)
		duckdb_vector_assign_string_element_len(result, offset, feed->link.reply.bytes, feed->link.reply.size);
}

static void destroy(void **states, idx_t count) {
	for (idx_t i = 0; i < count; i++)
		release(states[i]);
}

static void session_free(void *data) {
	struct session *session = data;
	buffer_free(&session->hello);
	free(session);
}

bool register_feed(handle connection, struct session *session) {
	static const int types[] = {TYPE_VARCHAR, TYPE_ANY, TYPE_BLOB};
	handle function = duckdb_create_aggregate_function();
	duckdb_aggregate_function_set_name(function, "thresh_feed");
	for (int i = 0; i < 3; i++) {
		handle type = duckdb_create_logical_type(types[i]);
		if (types[i] == TYPE_BLOB)
			duckdb_aggregate_function_set_return_type(function, type);
		else
			duckdb_aggregate_function_add_parameter(function, type);
		duckdb_destroy_logical_type(&type);
	}
	duckdb_aggregate_function_set_extra_info(function, session, session_free);
	duckdb_aggregate_function_set_functions(function, state_size, init, update, combine, finalize);
	duckdb_aggregate_function_set_destructor(function, destroy);
	bool done = !duckdb_register_aggregate_function(connection, function);
	duckdb_destroy_aggregate_function(&function);
	return done;
}
