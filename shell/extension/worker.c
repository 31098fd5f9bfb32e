#define _GNU_SOURCE
#include "thresher.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char TOLD[] = "the reply says what went wrong";

/* See to it that a worker listens, and say where. */
static const char START[] = "exec 2>&1; test -z \"$THRESHER_PYTHON\" || exec \"$THRESHER_PYTHON\" -P -m thresher.shell"
                            ".starting " THRESHER_VERSION "; exec thresher worker --start " THRESHER_VERSION;
static const char HINT[] = "thresher: cannot start the worker: neither $THRESHER_PYTHON nor `thresher` is a program "
                           "that runs. Start the shell with `thresher shell`, or set THRESHER_PYTHON.";

bool link_fail(struct link *link, const char *text) {
	link->reply.size = 0;
	buffer_add(&link->reply, text, strlen(text) + 1);
	return false;
}

static void hang_up(struct link *link) {
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
}

void link_close(struct link *link) {
	hang_up(link);
	if (link->since >= 0)
		interrupts_end();
	buffer_free(&link->reply);
}

/* Progress is bytes for a terminal, ready made. */
static void show(const void *bytes, uint64_t size) {
	if (isatty(STDERR_FILENO) && write(STDERR_FILENO, bytes, size) < 0)
		return; /* it is not needed */
}

static bool try_connect(struct link *link) {
	const struct sockaddr_un *address = &link->session->address;
	struct ucred peer;
	socklen_t length = sizeof peer;
	struct timeval tenth = {0, 100000};
	int size = 4 << 20;
	if (!*address->sun_path || (link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
		return false;
	setsockopt(link->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	setsockopt(link->fd, SOL_SOCKET, SO_SNDTIMEO, &tenth, sizeof tenth);
	setsockopt(link->fd, SOL_SOCKET, SO_RCVTIMEO, &tenth, sizeof tenth);
	if (!connect(link->fd, (const struct sockaddr *)address, sizeof *address) &&
	    !getsockopt(link->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) && peer.uid == geteuid())
		return true;
	hang_up(link);
	return false;
}

static failure start_worker(struct link *link) {
	struct sockaddr_un *address = &link->session->address;
	char said[4096];
	FILE *program = popen(START, "re");
	size_t size = program ? fread(said, 1, sizeof said - 1, program) : 0;
	int status = program ? pclose(program) : -1;
	said[size && said[size - 1] == '\n' ? size - 1 : size] = '\0';
	link_fail(link, status < 0 || WEXITSTATUS(status) >= 126 ? HINT : said); /* 126 on: there is no such program */
	if (interrupted(link->since))
		return INTERRUPTED;
	if (status || strlen(said) >= sizeof address->sun_path)
		return TOLD;
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, said);
	return try_connect(link) ? NULL : CLOSED;
}

/* Connect, if need be to a worker that is started now. One thread at a time. */
static failure reach_worker(struct link *link) {
	hang_up(link);
	pthread_mutex_lock(&link->session->lock);
	failure failed = try_connect(link) ? NULL : start_worker(link);
	pthread_mutex_unlock(&link->session->lock);
	return failed ? failed : frame_send(link, 'H', &link->session->hello);
}

static failure await_reply(struct link *link) {
	char type = 0;
	failure failed;
	while (!(failed = frame_receive(link, &type)) && type == 'p')
		show(link->reply.bytes, link->reply.size);
	if (failed || type == 's')
		return failed;
	buffer_add(&link->reply, "", 1); /* the worker's error, as it is */
	return type == 'r' ? TOLD : BROKEN;
}

/* One frame and, if wanted, its reply. A worker that refuses may close at once: its reason is read. */
static failure exchange(struct link *link, char type, const struct buffer *payload, bool wait) {
	failure failed = frame_send(link, type, payload);
	if (failed == CLOSED)
		return await_reply(link) == TOLD ? TOLD : CLOSED;
	return failed || !wait ? failed : await_reply(link);
}

bool link_call(struct link *link, char type, const struct buffer *payload, bool wait) {
	bool first = link->fd < 0;
	failure failed = CLOSED;
	link->since = link->since < 0 ? interrupts_begin() : link->since;
	for (int attempt = 0; failed == CLOSED && attempt < (first ? 2 : 1); attempt++) {
		failed = first ? reach_worker(link) : NULL;
		failed = !failed || failed == CLOSED ? exchange(link, type, payload, wait) : failed;
	}
	if (failed == INTERRUPTED) {
		show("\r\x1b[K", 4);
		frame_send(link, 'C', &(struct buffer){0});
	}
	if (failed && failed != TOLD)
		link_fail(link, failed);
	if (failed)
		hang_up(link);
	return !failed;
}
