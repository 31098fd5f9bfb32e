#define _GNU_SOURCE
#include "worker.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
	char *text;
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	free(link->error);
	link->error = text;
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

/* Print what can be printed of a line: progress is cut to the width of the terminal, a note ends its line. */
static void show_line(const struct buffer *line, bool progress) {
	struct winsize window = {0};
	char text[4096];
	size_t used = 0, columns = 0;
	if (!isatty(STDERR_FILENO) || !is_utf8(line->bytes, line->size))
		return;
	ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
	size_t width = !progress ? sizeof text : window.ws_col ? window.ws_col : 80;
	for (uint64_t at = 0; at < line->size && used < sizeof text; at++) {
		uint8_t byte = line->bytes[at];
		columns += byte >> 6 != 2;
		if (columns >= width)
			break;
		if (byte == 0xC2 && line->bytes[at + 1] < 0xA0)
			at++; /* a control character of two bytes */
		else if (byte >= ' ' && byte != 0x7F)
			text[used++] = (char)byte;
	}
	fprintf(stderr, "\r\x1b[K%.*s%s", (int)used, text, progress ? "" : "\n");
	fflush(stderr);
}

static bool is_ours(int fd) {
	struct ucred peer;
	socklen_t size = sizeof peer;
	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.uid == geteuid();
}

/* Make the directory of the socket, and see that nobody else can put a socket there. */
static bool is_private(const char *directory) {
	struct stat found;
	return (!mkdir(directory, 0700) || errno == EEXIST) && !lstat(directory, &found) && S_ISDIR(found.st_mode) &&
	       found.st_uid == geteuid() && !(found.st_mode & 077);
}

static bool socket_path(struct link *link, struct sockaddr_un *address) {
	const char *given = getenv("THRESHER_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
	char *path = address->sun_path;
	size_t room = sizeof address->sun_path;
	int size;
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (given && *given)
		size = snprintf(path, room, "%s", given);
	else if (runtime && *runtime)
		size = snprintf(path, room, "%s/thresher/%s.sock", runtime, THRESHER_VERSION);
	else
		size = snprintf(path, room, "/tmp/thresher-%u/%s.sock", (unsigned)geteuid(), THRESHER_VERSION);
	char *slash = strrchr(path, '/');
	if (size >= (int)room || !slash || slash == path)
		return link_fail(link, "thresher: the worker's socket needs an absolute path of less than %zu bytes. "
		                       "Set THRESHER_SOCKET to one.", room);
	*slash = '\0';
	bool trusted = is_private(path);
	if (!trusted)
		link_fail(link, "thresher: the directory %s cannot be made, or is not yours alone (mode 0700, no symbolic link)",
		          path);
	*slash = '/';
	return trusted;
}

static bool try_connect(struct link *link, const struct sockaddr_un *address) {
	int size = 4 << 20;
	link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(link->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	if (!connect(link->fd, (const struct sockaddr *)address, sizeof *address) && is_ours(link->fd))
		return true;
	hang_up(link);
	return false;
}

/* Start a worker in a session of its own: Ctrl-C in the terminal does not reach it. Its process id, or -1. */
static pid_t spawn_worker(struct link *link, const char *path, const char *log) {
	char *python = getenv("THRESHER_PYTHON");
	bool given = python && *python;
	char *module[] = {python, "-P", "-m", "thresher.shell.worker", "--socket", (char *)path, NULL};
	char *command[] = {"thresher", "worker", "--socket", (char *)path, NULL};
	char **arguments = given ? module : command;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	pid_t worker;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
	int failed = posix_spawnp(&worker, arguments[0], &files, &attributes, arguments, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	if (failed)
		link_fail(link, "thresher: cannot start the worker, %s: %s.%s", arguments[0], strerror(failed),
		          given ? "" : " Start the shell with `thresher shell`, or set THRESHER_PYTHON.");
	return failed ? -1 : worker;
}

/* Connect, if need be to a worker that is started now. One thread at a time. */
static bool reach_worker(struct link *link, const struct sockaddr_un *address) {
	static pid_t started; /* reaped when it has gone */
	char log[sizeof address->sun_path + 8];
	int status;
	if (started > 0 && waitpid(started, NULL, WNOHANG))
		started = 0;
	if (try_connect(link, address))
		return true;
	snprintf(log, sizeof log, "%s.log", address->sun_path);
	if ((started = spawn_worker(link, address->sun_path, log)) < 0)
		return false;
	for (int waited = 0; waited < START_MS && !interrupted(); waited += POLL_MS) {
		poll(NULL, 0, POLL_MS);
		if (try_connect(link, address))
			return true;
		if (started > 0 && waitpid(started, &status, WNOHANG) == started) {
			started = 0;
			if (status) /* 0: another worker was faster */
				return link_fail(link, "thresher: the worker ended as soon as it was started; %s says why", log);
		}
	}
	return interrupted() ? link_fail(link, "interrupted")
	                     : link_fail(link, "thresher: the worker does not answer; see %s", log);
}

static bool explain(struct link *link, enum outcome outcome) {
	static const char *const texts[] = {
	    [CLOSED] = "thresher: the worker went away. The next query starts another.",
	    [INTERRUPTED] = "interrupted",
	    [BROKEN] = "thresher: the worker does not keep to the protocol",
	    [NO_MEMORY] = "thresher: out of memory, or a value is over 1 GiB long"};
	if (outcome == INTERRUPTED)
		frame_send(link->fd, 'C', &(struct parts){0});
	hang_up(link);
	return link_fail(link, "%s", texts[outcome]);
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
		show_line(&link->reply, type == 'p');
		shown = type == 'p';
	}
	if (shown && isatty(STDERR_FILENO))
		fputs("\r\x1b[K", stderr);
	*succeeded = type != 'r';
	return !outcome && !strchr("sor", type) ? BROKEN : outcome;
}

/* One frame and, if wanted, its reply. A worker that refuses may close at once: its reason is read. */
static enum outcome exchange(struct link *link, char type, struct parts *parts, bool wait, bool *succeeded) {
	enum outcome sent = frame_send(link->fd, type, parts);
	if (sent == CLOSED || (sent == DONE && wait)) {
		enum outcome outcome = await_reply(link, succeeded);
		return sent == CLOSED && (outcome || *succeeded) ? CLOSED : outcome;
	}
	return sent;
}

/* The first frame: who we are. The reply is the worker's process id. */
static enum outcome greet(struct link *link, bool *succeeded) {
	struct parts parts = {0};
	parts_add(&parts, link->session->hello.bytes, link->session->hello.size);
	enum outcome outcome = exchange(link, 'H', &parts, true, succeeded);
	free(parts.items);
	if (!outcome && *succeeded && link->reply.size != 4)
		return BROKEN;
	if (!outcome && *succeeded)
		memcpy(&link->worker, link->reply.bytes, 4);
	return outcome;
}

bool link_call(struct link *link, char type, struct parts *parts, bool wait) {
	static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
	struct sockaddr_un address;
	enum outcome outcome = CLOSED;
	bool reached = true, succeeded = true, open = link->fd >= 0;
	if (!open && !socket_path(link, &address))
		return false;
	interrupts_begin();
	if (open)
		outcome = exchange(link, type, parts, wait, &succeeded);
	for (int attempt = 0; !open && reached && outcome == CLOSED && attempt < 2; attempt++) {
		hang_up(link);
		pthread_mutex_lock(&starting);
		reached = reach_worker(link, &address);
		pthread_mutex_unlock(&starting);
		outcome = reached ? greet(link, &succeeded) : CLOSED;
		if (!outcome && succeeded)
			outcome = exchange(link, type, parts, wait, &succeeded);
	}
	if (reached && outcome)
		explain(link, outcome);
	else if (!succeeded)
		worker_error(link);
	interrupts_end();
	return !outcome && succeeded;
}

bool link_ask(struct link *link, char type, const struct buffer *payload) {
	struct parts parts = {.failed = payload->failed};
	parts_add(&parts, payload->bytes, payload->size);
	bool done = link_call(link, type, &parts, true);
	free(parts.items);
	return done;
}
