/* The worker process: found or started, greeted, asked. */
#pragma once
#include "wire.h"
#include <pthread.h>

enum { KEPT_RUNS = 16 };
struct kept_run {
	int64_t run;         /* 0: none */
	struct buffer reply; /* u64 bits, then one bit a row */
};

/* What one LOAD knows; shared by the functions that it registered. */
struct session {
	int references;
	struct buffer hello; /* the texts of the first frame on every connection */
	pthread_mutex_t lock; /* of what follows */
	uint32_t worker, next; /* a process; the place of the next run */
	struct kept_run runs[KEPT_RUNS];
};

/* One connection, opened by its first frame. */
struct link {
	struct session *session;
	int fd;          /* -1: not open */
	uint32_t worker; /* its process id */
	struct buffer reply;
	char *error; /* what went wrong */
};
#define LINK(session) {session, -1, 0, {0}, NULL}

/* Send a frame and, if wanted, wait for its reply, showing the worker's progress on a terminal. False: `error` is
 * set. A connection that dies under its first frame is tried once more, with a fresh worker. */
bool link_call(struct link *link, char type, struct parts *parts, bool wait);
bool link_ask(struct link *link, char type, const struct buffer *payload); /* link_call() of one part, waiting */
bool link_fail(struct link *link, const char *format, ...) __attribute__((format(printf, 2, 3))); /* false */
void link_close(struct link *link);
