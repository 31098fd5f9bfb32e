#define _GNU_SOURCE
#include "worker.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
enum { POLL_MS = 20, START_MS = 20000 };

bool link_fail(struct link *link, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	free(link->error);
	if (vasprintf(&link->error, format, arguments) < 0)
		link->error = NULL;
	va_end(arguments);
	return false;
}

static void hang_up(struct link *link) {
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
}

void link_close(struct link *link) {
	hang_up(link);
	buffer_free(&link->reply);
	free(link->error);
	link->error = NULL;
}

/* ---- what people see ---- */

static void erase_line(void) {
	if (isatty(STDERR_FILENO))
		fputs("\r\x1b[K", stderr);
}

/* Print the printable part of a line, cut to the terminal's width, in one piece. */
static void show_line(const struct buffer *line, const char *end) {
	struct winsize window = {0};
	char text[4096];
	uint64_t used = 0, columns = 0;
	if (!isatty(STDERR_FILENO) || !is_utf8(line->bytes, line->size))
		return;
	uint64_t width = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) || !window.ws_col ? 80 : window.ws_col;
	for (uint64_t at = 0; at < line->size && used < sizeof text; at++) {
		uint8_t byte = line->bytes[at];
		if (byte == 0xC2 && line->bytes[at + 1] < 0xA0)
			at++; /* a control character of two bytes */
		else if (byte >= ' ' && byte != 0x7F) {
			columns += byte >> 6 != 2;
			if (*end == '\0' && columns >= width)
				break;
			text[used++] = (char)byte;
		}
	}
	fprintf(stderr, "\r\x1b[K%.*s%s", (int)used, text, end);
	fflush(stderr);
}

/* ---- finding and starting the worker ---- */

static bool is_ours(int fd) {
#ifdef SO_PEERCRED
	struct ucred peer;
	socklen_t size = sizeof peer;
	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.uid == geteuid();
#else
	uid_t user;
	gid_t group;
	return !getpeereid(fd, &user, &group) && user == geteuid();
#endif
}

/* Make the directory of the socket, and see that nobody else can put a socket there. */
static bool is_private(char *directory) {
	struct stat found;
	if (mkdir(directory, 0700) && errno != EEXIST)
		return false;
	return !lstat(directory, &found) && S_ISDIR(found.st_mode) && found.st_uid == geteuid() &&
	       !(found.st_mode & 077);
}

static bool socket_path(struct link *link, struct sockaddr_un *address) {
	const char *given = getenv("THRESHER_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
	size_t room = sizeof address->sun_path, size;
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	if (given && *given)
		size = (size_t)snprintf(address->sun_path, room, "%s", given);
	else if (runtime && *runtime)
		size = (size_t)snprintf(address->sun_path, room, "%s/thresher/" THRESHER_VERSION ".sock", runtime);
	else
		size = (size_t)snprintf(address->sun_path, room, "/tmp/thresher-%u/" THRESHER_VERSION ".sock",
		                        (unsigned)geteuid());
	if (size >= room)
		return link_fail(link, "thresher: the path of the worker's socket is over %zu bytes long. "
		                       "Set THRESHER_SOCKET to a shorter one.", room - 1);
	char *slash = strrchr(address->sun_path, '/');
	if (!slash || slash == address->sun_path)
		return link_fail(link, "thresher: %s is no absolute path of a socket", address->sun_path);
	*slash = '\0';
	bool trusted = is_private(address->sun_path);
	if (!trusted)
		link_fail(link, "thresher: the directory %s must belong to you alone (mode 0700, no symbolic link)",
		          address->sun_path);
	*slash = '/';
	return trusted;
}

static int try_connect(const struct sockaddr_un *address) {
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int size = 4 << 20;
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	if (!connect(fd, (const struct sockaddr *)address, sizeof *address) && is_ours(fd))
		return fd;
	close(fd);
	return -1;
}

/* Start a worker of its own session, so that Ctrl-C in the terminal does not reach it. */
static pid_t spawn_worker(struct link *link, const char *path, const char *log) {
	char *python = getenv("THRESHER_PYTHON"), *socket = (char *)path;
	char *module[] = {python, "-P", "-m", "thresher.shell.worker", "--socket", socket, NULL};
	char *command[] = {"thresher", "worker", "--socket", socket, NULL};
	bool given = python && *python;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	pid_t worker = -1;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
	char **arguments = given ? module : command;
	int failed = posix_spawnp(&worker, arguments[0], &files, &attributes, arguments, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	if (!failed)
		return worker;
	link_fail(link, "thresher: cannot start the worker, %s: %s.%s", arguments[0], strerror(failed),
	          given ? "" : " Start the shell with `thresher shell`, or set THRESHER_PYTHON.");
	return -1;
}

/* Connect, if need be to a worker that is started now. One thread at a time. */
static bool reach_worker(struct link *link, const struct sockaddr_un *address) {
	static pid_t started; /* reaped when it has gone */
	char log[sizeof address->sun_path + 8];
	int status;
	if (started > 0 && waitpid(started, NULL, WNOHANG) != 0)
		started = 0;
	if ((link->fd = try_connect(address)) >= 0)
		return true;
	snprintf(log, sizeof log, "%s.log", address->sun_path);
	pid_t worker = spawn_worker(link, address->sun_path, log);
	if (worker < 0)
		return false;
	started = worker;
	for (int waited = 0; waited < START_MS && !interrupted(); waited += POLL_MS) {
		interruptible_sleep(POLL_MS);
		if ((link->fd = try_connect(address)) >= 0)
			return true;
		if (started && waitpid(started, &status, WNOHANG) == started) {
			started = 0;
			if (!WIFEXITED(status) || WEXITSTATUS(status)) /* 0: another worker was faster */
				return link_fail(link, "thresher: the worker ended as soon as it was started; %s says why", log);
		}
	}
	if (interrupted())
		return link_fail(link, "interrupted");
	return link_fail(link, "thresher: the worker does not answer; see %s", log);
}

/* ---- asking ---- */

static bool explain(struct link *link, enum outcome outcome) {
	if (outcome == INTERRUPTED)
		frame_send(link->fd, 'C', NULL);
	hang_up(link);
	if (outcome == INTERRUPTED)
		return link_fail(link, "interrupted");
	if (outcome == BROKEN)
		return link_fail(link, "thresher: the worker does not keep to the protocol, or a value is over 1 GiB long");
	if (outcome == NO_MEMORY)
		return link_fail(link, "thresher: out of memory");
	return link_fail(link, "thresher: the worker went away. The next query starts another.");
}

/* The worker's error, as it is; what is no UTF-8 in it would break whoever shows it. */
static bool worker_error(struct link *link) {
	struct buffer *text = &link->reply;
	bool clean = is_utf8(text->bytes, text->size);
	for (uint64_t at = 0; at < text->size; at++)
		if (!text->bytes[at] || (!clean && text->bytes[at] >= 0x80))
			text->bytes[at] = '?';
	return link_fail(link, "%.*s", (int)text->size, (const char *)text->bytes);
}

/* Receive frames until one is a reply. */
static enum outcome await_reply(struct link *link, bool *succeeded) {
	bool shown = false;
	char type = 0;
	enum outcome outcome;
	while (!(outcome = frame_receive(link->fd, &type, &link->reply)) && strchr("pn", type)) {
		show_line(&link->reply, type == 'p' ? "" : "\n");
		shown = type == 'p';
	}
	if (shown)
		erase_line();
	if (!outcome && !strchr("sor", type))
		outcome = BROKEN;
	*succeeded = type != 'r';
	return outcome;
}

static enum outcome greet(struct link *link, bool *succeeded) {
	struct parts parts = {0};
	enum outcome outcome = NO_MEMORY;
	if (parts_add(&parts, link->session->hello.bytes, link->session->hello.size))
		outcome = frame_send(link->fd, 'H', &parts);
	free(parts.items);
	if (!outcome || outcome == CLOSED)
		outcome = await_reply(link, succeeded);
	if (!outcome && *succeeded) {
		struct reader reader = {link->reply.bytes, link->reply.size};
		outcome = read_bytes(&reader, &link->worker, 4) && !reader.left ? DONE : BROKEN;
	}
	return outcome;
}

/* One frame and, if wanted, its reply. A worker that refuses may close at once: its reason is read. */
static enum outcome exchange(struct link *link, char type, struct parts *parts, bool wait, bool *succeeded) {
	enum outcome outcome = frame_send(link->fd, type, parts);
	if (outcome == CLOSED || (outcome == DONE && wait)) {
		bool sent = outcome == DONE;
		outcome = await_reply(link, succeeded);
		if (!outcome && !sent && *succeeded)
			outcome = BROKEN;
	}
	return outcome;
}

static bool call(struct link *link, char type, struct parts *parts, bool wait) {
	static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
	struct sockaddr_un address;
	enum outcome outcome = CLOSED;
	bool succeeded = true;
	if (link->fd >= 0)
		outcome = exchange(link, type, parts, wait, &succeeded);
	else if (!socket_path(link, &address))
		return false;
	else
		for (int attempt = 0; attempt < 2 && outcome == CLOSED; attempt++) {
			hang_up(link);
			pthread_mutex_lock(&starting);
			bool reached = reach_worker(link, &address);
			pthread_mutex_unlock(&starting);
			if (!reached)
				return false;
			outcome = greet(link, &succeeded);
			if (!outcome && succeeded)
				outcome = exchange(link, type, parts, wait, &succeeded);
		}
	if (outcome)
		return explain(link, outcome);
	return succeeded || worker_error(link);
}

bool link_send(struct link *link, char type, struct parts *parts) {
	interrupts_begin();
	bool done = call(link, type, parts, false);
	interrupts_end();
	return done;
}

bool link_ask(struct link *link, char type, struct parts *parts) {
	interrupts_begin();
	bool done = call(link, type, parts, true);
	interrupts_end();
	return done;
}
