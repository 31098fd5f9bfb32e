#define _GNU_SOURCE
#include "wire.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

uint8_t *buffer_extend(struct buffer *buffer, uint64_t more) {
	if (!buffer->bytes || more > buffer->capacity - buffer->size) {
		uint64_t capacity = (buffer->size + more) * 3 / 2 + 64;
		uint8_t *bytes = buffer->failed || more >> 40 ? NULL : realloc(buffer->bytes, capacity);
		if ((buffer->failed = !bytes))
			return NULL;
		buffer->bytes = bytes;
		buffer->capacity = capacity;
	}
	buffer->size += more;
	return buffer->bytes + buffer->size - more;
}

void buffer_add(struct buffer *buffer, const void *bytes, uint64_t size) {
	uint8_t *room = buffer_extend(buffer, size);
	if (room && size)
		memcpy(room, bytes, size);
}

void buffer_add_text(struct buffer *buffer, const char *text, uint64_t size) {
	int32_t length = text ? (int32_t)size : -1;
	buffer_add(buffer, &length, 4);
	buffer_add(buffer, text, text ? size : 0);
	buffer->failed |= size > MAX_PAYLOAD;
}

void buffer_free(struct buffer *buffer) {
	free(buffer->bytes);
	*buffer = (struct buffer){0};
}

bool read_bytes(struct reader *reader, void *into, uint64_t size) {
	if (size > reader->left)
		return false;
	if (size)
		memcpy(into, reader->at, size);
	reader->at += size;
	reader->left -= size;
	return true;
}

bool read_text(struct reader *reader, const char **text, uint32_t *size) {
	*text = NULL;
	if (!read_bytes(reader, size, 4) || *size == UINT32_MAX)
		return reader->left || *size == UINT32_MAX;
	if (*size > reader->left || !is_utf8(reader->at, *size))
		return false;
	*text = (const char *)reader->at;
	reader->at += *size;
	reader->left -= *size;
	return true;
}

/* Length of the character that begins here, 0 if it is none: Unicode's table 3-7. */
static uint64_t character(const uint8_t *at, uint64_t left) {
	uint8_t first = at[0], low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
	uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
	if (first < 0x80)
		return 1;
	uint64_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
	if (first < 0xC2 || first > 0xF4 || length > left || at[1] < low || at[1] > high)
		return 0;
	for (uint64_t i = 2; i < length; i++)
		if (at[i] >> 6 != 2)
			return 0;
	return length;
}

bool is_utf8(const uint8_t *text, uint64_t size) {
	for (uint64_t at = 0, length; at < size; at += length)
		if (!(length = character(text + at, size - at)))
			return false;
	return true;
}

void parts_add(struct parts *parts, const void *bytes, uint64_t size) {
	parts->count += !parts->count; /* the header's place */
	if (parts->count >= parts->capacity) {
		struct iovec *items = realloc(parts->items, (parts->capacity * 2 + 16) * sizeof *items);
		if ((parts->failed |= !items))
			return;
		parts->items = items;
		parts->capacity = parts->capacity * 2 + 16;
	}
	parts->items[parts->count++] = (struct iovec){(void *)bytes, size};
	parts->size += size;
}

void parts_add_buffer(struct parts *parts, struct buffer *buffer) {
	uint64_t padding = -buffer->size & 7;
	uint8_t *tail = buffer_extend(buffer, padding);
	parts->failed |= buffer->failed;
	if (!tail)
		return;
	memset(tail, 0, padding);
	buffer->size -= padding;
	parts_add(parts, &buffer->size, 8);
	parts_add(parts, buffer->bytes, buffer->size + padding);
}

/* Wait until the socket can be read or written. */
static enum outcome ready(int fd, short events) {
	for (;;) {
		struct pollfd one = {fd, events, 0};
		int found = poll(&one, 1, 100);
		if (interrupted())
			return INTERRUPTED;
		if (found > 0 || (found < 0 && errno != EINTR))
			return found > 0 ? DONE : CLOSED;
	}
}

/* Write some parts at a time; they are left as they are, so that they can be sent again. */
static enum outcome write_parts(int fd, const struct iovec *items, uint64_t count) {
	uint64_t done = 0; /* bytes of the first part that are written */
	while (count) {
		struct iovec window[64];
		uint64_t some = count < 64 ? count : 64;
		memcpy(window, items, some * sizeof *items);
		window[0].iov_base = (uint8_t *)window[0].iov_base + done;
		window[0].iov_len -= done;
		struct msghdr message = {.msg_iov = window, .msg_iovlen = some};
		ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		enum outcome outcome = sent >= 0 ? DONE : errno == EAGAIN || errno == EINTR ? ready(fd, POLLOUT) : CLOSED;
		if (outcome)
			return outcome;
		for (done += sent > 0 ? (uint64_t)sent : 0; count && done >= items->iov_len; items++, count--)
			done -= items->iov_len;
	}
	return DONE;
}

struct header {
	uint32_t type, zero;
	uint64_t size;
};

enum outcome frame_send(int fd, char type, struct parts *parts) {
	struct header header = {(uint8_t)type, 0, parts->size};
	struct iovec alone, *items = parts->count ? parts->items : &alone;
	if (parts->failed || header.size > MAX_PAYLOAD)
		return NO_MEMORY;
	*items = (struct iovec){&header, sizeof header};
	return write_parts(fd, items, parts->count ? parts->count : 1);
}

static enum outcome read_exactly(int fd, uint8_t *into, uint64_t size) {
	while (size) {
		ssize_t got = recv(fd, into, size, MSG_DONTWAIT);
		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			return CLOSED;
		enum outcome outcome = got < 0 ? ready(fd, POLLIN) : DONE;
		if (outcome)
			return outcome;
		into += got < 0 ? 0 : got;
		size -= got < 0 ? 0 : (uint64_t)got;
	}
	return DONE;
}

enum outcome frame_receive(int fd, char *type, struct buffer *payload) {
	struct header header;
	enum outcome outcome = read_exactly(fd, (uint8_t *)&header, sizeof header);
	if (outcome)
		return outcome;
	if (header.type <= ' ' || header.type > '~' || header.zero || header.size > MAX_PAYLOAD)
		return BROKEN;
	*type = (char)header.type;
	payload->size = 0;
	uint8_t *room = buffer_extend(payload, header.size);
	return room ? read_exactly(fd, room, header.size) : NO_MEMORY;
}
