/* The worker process: found or started, greeted, asked. */
#pragma once
#include "wire.h"

/* What one LOAD knows; shared by the functions that it registered. */
struct session {
	int references;
	struct buffer hello; /* the texts of the first frame on every connection */
	struct kept_runs *kept;
};

/* One connection. */
struct link {
	struct session *session;
	int fd;          /* -1: not open */
	uint32_t worker; /* its process id */
	struct buffer reply;
	char *error; /* what went wrong, as text; freed by link_close() */
};
#define LINK(session) {session, -1, 0, {0}, NULL}

/* Send a frame, opening the connection first where it is not open; false: `error` is set.
 * A connection that dies under its first frame is tried once more, with a fresh worker. */
bool link_send(struct link *link, char type, struct parts *parts);
/* The same, then wait for the reply, showing the worker's progress on a terminal. */
bool link_ask(struct link *link, char type, struct parts *parts);
bool link_fail(struct link *link, const char *format, ...) __attribute__((format(printf, 2, 3))); /* false */
void link_close(struct link *link);
