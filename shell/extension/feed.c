/* thresh_feed(text VARCHAR, n BIGINT, row STRUCT) -> BIGINT: stream the rows of a statement to the worker, run it
 * there, and return the number of the run. */
#include "functions.h"
#include "vectors.h"
#include <stdlib.h>
#include <unistd.h>

enum { FRAME_ROWS = 65536, FRAME_BYTES = 16 << 20 };
static const char GROUPED[] = "thresh_feed() takes all rows of a statement: it cannot be grouped";
static const char NO_ROOM[] = "thresher: out of memory";

/* The rows that one thread has seen; combine() joins threads. */
struct feed {
	struct link link;
	int64_t run;
	uint64_t weight; /* about the bytes that wait to be sent */
	struct column numbers, row;
	struct buffer joined; /* runs of other threads, which have ended */
	struct buffer held;   /* their connections: the worker drops the rows of one that closes */
};

static bool describe_row(struct feed *feed, handle vector) {
	handle type = duckdb_vector_get_column_type(vector);
	struct buffer description = {0};
	struct column *refused = NULL;
	bool done = duckdb_get_type_id(type) == TYPE_STRUCT;
	if (!done)
		link_fail(&feed->link, "thresh_feed() takes a STRUCT of the columns that the statement reads");
	else if (!(done = column_create(&feed->row, type, &description, &refused)))
		link_fail(&feed->link, "thresher: column %s has a type (DuckDB's number %d) that cannot be sent; cast it",
		          refused->name, refused->type);
	duckdb_destroy_logical_type(&type);
	if (done) {
		struct parts parts = {.failed = description.failed};
		parts_add(&parts, description.bytes, description.size);
		done = link_call(&feed->link, 'T', &parts, false);
		free(parts.items);
	}
	buffer_free(&description);
	return done;
}

/* A new run of another worker: runs of the same number are not kept. */
static void note_worker(struct session *session, uint32_t worker) {
	pthread_mutex_lock(&session->lock);
	for (int i = 0; i < KEPT_RUNS && session->worker != worker; i++)
		session->runs[i].run = 0;
	session->worker = worker;
	pthread_mutex_unlock(&session->lock);
}

static bool begin(struct feed *feed, handle texts, handle rows) {
	const struct text *text = duckdb_vector_get_data(texts);
	struct buffer payload = {0};
	uint32_t one = 1;
	if (!is_valid(duckdb_vector_get_validity(texts), 0))
		return link_fail(&feed->link, "thresh_feed() takes a statement, not NULL");
	buffer_add(&payload, &one, 4);
	buffer_add_text(&payload, text_bytes(text), text->size);
	bool done = link_ask(&feed->link, 'F', &payload);
	buffer_free(&payload);
	if (!done)
		return false;
	struct reader reader = {feed->link.reply.bytes, feed->link.reply.size};
	if (!read_bytes(&reader, &feed->run, 8) || reader.left || feed->run <= 0)
		return link_fail(&feed->link, "thresher: the worker's number of a run is none");
	note_worker(feed->link.session, feed->link.worker);
	feed->numbers = (struct column){.type = TYPE_BIGINT, .width = 8};
	return describe_row(feed, rows);
}

static bool flush(struct feed *feed) {
	uint32_t head[2] = {(uint32_t)feed->numbers.rows, 0};
	struct parts parts = {0};
	if (!head[0])
		return true;
	parts_add(&parts, head, sizeof head);
	parts_add_buffer(&parts, &feed->numbers.values);
	for (uint32_t i = 0; i < feed->row.n_children; i++)
		column_send(feed->row.children + i, &parts);
	bool done = link_call(&feed->link, 'D', &parts, false);
	free(parts.items);
	column_clear(&feed->numbers);
	column_clear(&feed->row);
	feed->weight = 0;
	return done;
}

/* Append rows, in halves where their texts are long. */
static bool append(struct feed *feed, idx_t start, idx_t count) {
	uint64_t weight = column_weight(&feed->row, start, count);
	if (weight > FRAME_BYTES && count > 1)
		return append(feed, start, count / 2) && append(feed, start + count / 2, count - count / 2);
	if ((feed->weight + weight > FRAME_BYTES || feed->numbers.rows + count > FRAME_ROWS) && !flush(feed))
		return false;
	feed->weight += weight;
	column_append(&feed->numbers, start, count);
	column_append(&feed->row, start, count);
	return true;
}

static void release(struct feed **state) {
	struct feed *feed = *state;
	*state = NULL;
	if (!feed)
		return;
	for (uint64_t at = 0; at < feed->held.size; at += sizeof(int))
		close(*(int *)(feed->held.bytes + at));
	link_close(&feed->link);
	column_free(&feed->numbers);
	column_free(&feed->row);
	buffer_free(&feed->joined);
	buffer_free(&feed->held);
	free(feed);
}

/* End the query. The state goes at once: DuckDB does not destroy those of a query that fails at its end. */
static void fail(void *info, struct feed **state) {
	duckdb_aggregate_function_set_error(info, (*state)->link.error);
	release(state);
}

static idx_t state_size(void *info) { return (void)info, sizeof(struct feed *); }

static void init(void *info, void *state) { *(struct feed **)state = ((void)info, NULL); }

static bool all_same(void **states, idx_t count) {
	for (idx_t i = 1; i < count; i++)
		if (states[i] != states[0])
			return false;
	return true;
}

static void update(void *info, handle input, void **states) {
	handle texts = duckdb_data_chunk_get_vector(input, 0), numbers = duckdb_data_chunk_get_vector(input, 1);
	handle rows = duckdb_data_chunk_get_vector(input, 2);
	idx_t count = duckdb_data_chunk_get_size(input);
	struct feed **state = count ? states[0] : NULL;
	bool first = state && !*state;
	if (!state || !all_same(states, count) || (first && !(*state = calloc(1, sizeof **state)))) {
		if (state)
			duckdb_aggregate_function_set_error(info, all_same(states, count) ? NO_ROOM : GROUPED);
		return;
	}
	struct feed *feed = *state;
	if (first)
		feed->link = (struct link)LINK(duckdb_aggregate_function_get_extra_info(info));
	bool done = !first || begin(feed, texts, rows);
	if (done) {
		column_view(&feed->numbers, numbers);
		column_view(&feed->row, rows);
		feed->numbers.valid = NULL; /* a row always has a number */
		done = append(feed, 0, count);
	}
	if (!done)
		fail(info, state);
}

/* End the source's rows, and remember its run in the target. */
static bool join(struct feed *source, struct feed *target) {
	if (!flush(source) || !link_ask(&source->link, 'W', &(struct buffer){0}))
		return link_fail(&target->link, "%s", source->link.error);
	buffer_add(&target->joined, &source->run, 8);
	buffer_add(&target->joined, source->joined.bytes, source->joined.size);
	buffer_add(&target->held, &source->link.fd, sizeof(int));
	buffer_add(&target->held, source->held.bytes, source->held.size);
	source->held.size = 0;
	source->link.fd = -1;
	return !target->joined.failed || link_fail(&target->link, NO_ROOM);
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
	int64_t *runs = duckdb_vector_get_data(result);
	struct feed **state = count ? states[0] : NULL;
	if (count > 1)
		duckdb_aggregate_function_set_error(info, GROUPED);
	for (idx_t i = 0; count > 1 && i < count; i++)
		release(states[i]);
	if (count != 1)
		return;
	if (!*state)
		set_null(result, offset);
	else if (flush(*state) && link_ask(&(*state)->link, 'G', &(*state)->joined))
		runs[offset] = (*state)->run;
	else
		fail(info, state);
}

static void destroy(void **states, idx_t count) {
	for (idx_t i = 0; i < count; i++)
		release(states[i]);
}

bool register_feed(handle connection, struct session *session) {
	static const int types[] = {TYPE_VARCHAR, TYPE_BIGINT, TYPE_ANY, TYPE_BIGINT};
	handle function = duckdb_create_aggregate_function();
	duckdb_aggregate_function_set_name(function, "thresh_feed");
	for (int i = 0; i < 4; i++) {
		handle type = duckdb_create_logical_type(types[i]);
		if (i < 3)
			duckdb_aggregate_function_add_parameter(function, type);
		else
			duckdb_aggregate_function_set_return_type(function, type);
		duckdb_destroy_logical_type(&type);
	}
	duckdb_aggregate_function_set_special_handling(function);
	duckdb_aggregate_function_set_extra_info(function, session_hold(session), session_release);
	duckdb_aggregate_function_set_functions(function, state_size, init, update, combine, finalize);
	duckdb_aggregate_function_set_destructor(function, destroy);
	bool done = !duckdb_register_aggregate_function(connection, function);
	duckdb_destroy_aggregate_function(&function);
	return done;
}
