/* thresh_feed(text VARCHAR, n BIGINT, row STRUCT) -> BIGINT: stream the rows of a statement to the worker, run
 * it there, and return the number of the run. */
#include "functions.h"
#include "vectors.h"
#include <stdlib.h>
#include <unistd.h>

enum { FRAME_ROWS = 65536, FRAME_BYTES = 16 << 20 };

/* The rows that one thread has seen; threads are joined by combine(). */
struct feed {
	struct link link;
	int64_t run;
	uint64_t weight; /* bytes that wait to be sent */
	struct column numbers, row;
	struct buffer joined; /* runs of other threads that have ended */
	struct buffer held;   /* their connections: the worker drops the rows of one that closes */
};

static bool no_memory(struct feed *feed) { return link_fail(&feed->link, "thresher: out of memory, or a value is over 1 GiB long"); }

static bool describe_row(struct feed *feed, handle vector) {
	handle type = duckdb_vector_get_column_type(vector);
	struct buffer description = {0};
	struct parts parts = {0};
	struct column *refused = NULL;
	bool done = duckdb_get_type_id(type) == TYPE_STRUCT;
	if (!done)
		link_fail(&feed->link, "thresh_feed() takes a STRUCT of the columns that the statement reads");
	else if (!(done = column_create(&feed->row, type, &description, &refused))) {
		no_memory(feed);
		if (refused)
			link_fail(&feed->link, "thresher: column %s has a type (DuckDB's number %d) that cannot be sent; cast it",
			          refused->name, refused->type);
	} else
		done = (parts_add(&parts, description.bytes, description.size) || no_memory(feed)) &&
		       link_send(&feed->link, 'T', &parts);
	duckdb_destroy_logical_type(&type);
	buffer_free(&description);
	free(parts.items);
	return done;
}

static bool begin(struct feed *feed, handle texts, handle rows) {
	const struct text *text = duckdb_vector_get_data(texts);
	struct buffer payload = {0};
	struct parts parts = {0};
	uint32_t one = 1;
	if (!is_valid(duckdb_vector_get_validity(texts), 0))
		return link_fail(&feed->link, "thresh_feed() takes a statement, not NULL");
	bool done = (buffer_add(&payload, &one, 4) && buffer_add_text(&payload, text_bytes(text), text->size) &&
	             parts_add(&parts, payload.bytes, payload.size)) || no_memory(feed);
	done = done && link_ask(&feed->link, 'F', &parts);
	buffer_free(&payload);
	free(parts.items);
	if (!done)
		return false;
	struct reader reader = {feed->link.reply.bytes, feed->link.reply.size};
	if (!read_bytes(&reader, &feed->run, 8) || reader.left || feed->run <= 0)
		return link_fail(&feed->link, "thresher: the worker's number of a run is none");
	kept_runs_of(feed->link.session, feed->link.worker);
	feed->numbers.type = TYPE_BIGINT;
	feed->numbers.width = 8;
	return describe_row(feed, rows);
}

static bool flush(struct feed *feed) {
	uint32_t head[2] = {(uint32_t)feed->numbers.rows, 0};
	struct parts parts = {0};
	if (!head[0])
		return true;
	bool done = parts_add(&parts, head, sizeof head) && parts_add_buffer(&parts, &feed->numbers.values);
	for (uint32_t i = 0; i < feed->row.n_children; i++)
		done = done && column_send(feed->row.children + i, &parts);
	done = (done || no_memory(feed)) && link_send(&feed->link, 'D', &parts);
	free(parts.items);
	column_clear(&feed->numbers);
	column_clear(&feed->row);
	feed->weight = 0;
	return done;
}

/* Append rows, in halves where their texts are long. */
static bool append(struct feed *feed, idx_t start, idx_t count) {
	uint64_t weight = column_weight(&feed->row, start, count);
	if (feed->weight + weight > FRAME_BYTES && count > 1)
		return append(feed, start, count / 2) && append(feed, start + count / 2, count - count / 2);
	if ((feed->weight + weight > FRAME_BYTES || feed->numbers.rows + count > FRAME_ROWS) && !flush(feed))
		return false;
	feed->weight += weight;
	return (column_append(&feed->numbers, start, count) && column_append(&feed->row, start, count)) ||
	       no_memory(feed);
}

static idx_t state_size(void *info) {
	(void)info;
	return sizeof(struct feed *);
}

static void init(void *info, void *state) {
	(void)info;
	*(struct feed **)state = NULL;
}

static bool all_same(void **states, idx_t count) {
	for (idx_t i = 1; i < count; i++)
		if (states[i] != states[0])
			return false;
	return true;
}

static const char GROUPED[] = "thresh_feed() takes all rows of a statement: it cannot be grouped";

static void update(void *info, handle input, void **states) {
	idx_t count = duckdb_data_chunk_get_size(input);
	handle numbers = duckdb_data_chunk_get_vector(input, 1), rows = duckdb_data_chunk_get_vector(input, 2);
	if (!count)
		return;
	if (!all_same(states, count)) {
		duckdb_aggregate_function_set_error(info, GROUPED);
		return;
	}
	struct feed *feed = *(struct feed **)states[0];
	bool done = true;
	if (!feed) {
		if (!(feed = *(struct feed **)states[0] = calloc(1, sizeof *feed))) {
			duckdb_aggregate_function_set_error(info, "thresher: out of memory");
			return;
		}
		feed->link = (struct link)LINK(duckdb_aggregate_function_get_extra_info(info));
		done = begin(feed, duckdb_data_chunk_get_vector(input, 0), rows);
	}
	if (done) {
		column_view(&feed->numbers, numbers);
		feed->numbers.valid = NULL; /* row numbers are never NULL */
		column_view(&feed->row, rows);
		done = append(feed, 0, count);
	}
	if (!done)
		duckdb_aggregate_function_set_error(info, feed->link.error);
}

/* End the source's rows and remember its run in the target. */
static bool join(struct feed *source, struct feed *target) {
	bool done = flush(source) && link_ask(&source->link, 'W', NULL);
	if (!done)
		return link_fail(&target->link, "%s", source->link.error);
	done = buffer_add(&target->joined, &source->run, 8) &&
	       buffer_add(&target->joined, source->joined.bytes, source->joined.size) &&
	       buffer_add(&target->held, source->held.bytes, source->held.size) &&
	       buffer_add(&target->held, &source->link.fd, sizeof(int));
	source->held.size = 0;
	source->link.fd = -1;
	return done || no_memory(target);
}

static void combine(void *info, void **sources, void **targets, idx_t count) {
	for (idx_t i = 0; i < count; i++) {
		struct feed **source = sources[i], **target = targets[i];
		if (*source && !*target) {
			*target = *source;
			*source = NULL;
		} else if (*source && !join(*source, *target))
			duckdb_aggregate_function_set_error(info, (*target)->link.error);
	}
}

static bool run(struct feed *feed) {
	struct parts parts = {0};
	bool done = flush(feed) && (parts_add(&parts, feed->joined.bytes, feed->joined.size) || no_memory(feed)) &&
	            link_ask(&feed->link, 'G', &parts);
	free(parts.items);
	return done;
}

static void finalize(void *info, void **states, handle result, idx_t count, idx_t offset) {
	int64_t *runs = duckdb_vector_get_data(result);
	struct feed *feed = count ? *(struct feed **)states[0] : NULL;
	if (count > 1)
		duckdb_aggregate_function_set_error(info, GROUPED);
	else if (feed && !run(feed))
		duckdb_aggregate_function_set_error(info, feed->link.error);
	else if (feed)
		runs[offset] = feed->run;
	else if (count) {
		duckdb_vector_ensure_validity_writable(result);
		duckdb_vector_get_validity(result)[offset >> 6] &= ~((uint64_t)1 << (offset & 63));
	}
}

static void destroy(void **states, idx_t count) {
	for (idx_t i = 0; i < count; i++) {
		struct feed *feed = *(struct feed **)states[i];
		if (!feed)
			continue;
		link_close(&feed->link);
		for (uint64_t at = 0; at < feed->held.size; at += sizeof(int))
			close(*(int *)(feed->held.bytes + at));
		column_free(&feed->numbers);
		column_free(&feed->row);
		buffer_free(&feed->joined);
		buffer_free(&feed->held);
		free(feed);
		*(struct feed **)states[i] = NULL;
	}
}

bool register_feed(handle connection, struct session *session) {
	static const int types[] = {TYPE_VARCHAR, TYPE_BIGINT, TYPE_ANY};
	handle function = duckdb_create_aggregate_function(), type;
	duckdb_aggregate_function_set_name(function, "thresh_feed");
	for (int i = 0; i < 3; i++) {
		type = duckdb_create_logical_type(types[i]);
		duckdb_aggregate_function_add_parameter(function, type);
		duckdb_destroy_logical_type(&type);
	}
	type = duckdb_create_logical_type(TYPE_BIGINT);
	duckdb_aggregate_function_set_return_type(function, type);
	duckdb_destroy_logical_type(&type);
	duckdb_aggregate_function_set_special_handling(function);
	duckdb_aggregate_function_set_extra_info(function, session_hold(session), session_release);
	duckdb_aggregate_function_set_functions(function, state_size, init, update, combine, finalize);
	duckdb_aggregate_function_set_destructor(function, destroy);
	bool done = !duckdb_register_aggregate_function(connection, function);
	duckdb_destroy_aggregate_function(&function);
	return done;
}
