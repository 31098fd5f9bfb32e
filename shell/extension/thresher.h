/* What the files of the extension share. All numbers on the wire are little-endian. */
#pragma once
#include "api.h"
#include <pthread.h>
#include <sys/un.h>

#define MAX_PAYLOAD ((uint64_t)1 << 30) /* bytes of one frame */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(size_t) == 8, "64 bits, little-endian");

/* Bytes that grow. Where memory runs out `failed` is set, and nothing is added any more. */
struct buffer {
	uint8_t *bytes;
	uint64_t size, capacity;
	bool failed;
};
void *buffer_extend(struct buffer *buffer, uint64_t more); /* room for `more` bytes, which count; or NULL */
void buffer_add(struct buffer *buffer, const void *bytes, uint64_t size);
void buffer_add_text(struct buffer *buffer, const char *text, uint64_t size); /* a NULL pointer is a NULL */
void buffer_free(struct buffer *buffer);

/* What went wrong, for the user; NULL: nothing. These are told apart by their addresses. */
typedef const char *failure;
extern const char CLOSED[], INTERRUPTED[], BROKEN[], NO_MEMORY[];

/* While somebody waits, Ctrl-C is noticed here, and by whoever handled it before. */
int interrupts_begin(void);
void interrupts_end(void);
bool interrupted(int since); /* what interrupts_begin() gave */

/* What one LOAD knows; shared by the functions that it registered. */
struct session {
	struct buffer hello;        /* the first frame on every connection */
	pthread_mutex_t lock;       /* of what follows */
	struct sockaddr_un address; /* where a worker listened last; empty before the first */
};
bool register_feed(handle connection, struct session *session); /* feed.c; the session is its own from then on */

/* One connection, opened by its first request. */
struct link {
	struct session *session;
	int fd;              /* -1: not open */
	int since;           /* when Ctrl-C is noticed, -1: not yet */
	struct buffer reply; /* where a call has failed: what went wrong, as a string */
};
#define LINK(session) {session, -1, -1, {0}}

failure frame_send(const struct link *link, char type, const struct buffer *payload);
failure frame_receive(struct link *link, char *type); /* the payload is the reply */
/* Send a frame and, if wanted, wait for its reply, showing the worker's progress on a terminal. A connection that
 * dies under its first request is tried once more, with a fresh worker. */
bool link_call(struct link *link, char type, const struct buffer *payload, bool wait);
bool link_fail(struct link *link, const char *text); /* false */
void link_close(struct link *link);

/* A column in Arrow's layout, filled from DuckDB's vectors; which rows are there takes a byte each. */
struct column {
	enum kind { FIXED, TEXT, LIST, STRUCT } kind;
	uint32_t width, n_children; /* bytes of a FIXED value */
	uint64_t size;              /* elements of an ARRAY, which is sent as a LIST */
	struct column *children;
	uint64_t rows; /* appended so far */
	struct buffer validity, ends, values;
	struct buffer chosen, elements; /* rows of the vector that is appended from, and of its elements */
};
/* Fill `column` from a logical type, and add the type to `description` as the wire has it. */
void column_create(struct column *column, handle type, struct buffer *description);
void column_free(struct column *column);
/* Append some rows of a vector, UINT64_MAX for a NULL; about the bytes that they take. */
uint64_t column_append(struct column *column, handle vector, const uint64_t *rows, uint64_t count);
void column_write(struct column *column, struct buffer *frame); /* and begin anew */
