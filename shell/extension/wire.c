#define _GNU_SOURCE
#include "wire.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

bool buffer_reserve(struct buffer *buffer, uint64_t more) {
	if (more <= buffer->capacity - buffer->size)
		return true;
	uint64_t capacity = (buffer->size + more) * 3 / 2 + 64;
	uint8_t *bytes = more >> 40 ? NULL : realloc(buffer->bytes, capacity);
	if (!bytes)
		return false;
	buffer->bytes = bytes;
	buffer->capacity = capacity;
	return true;
}

bool buffer_add(struct buffer *buffer, const void *bytes, uint64_t size) {
	if (!buffer_reserve(buffer, size))
		return false;
	if (size)
		memcpy(buffer->bytes + buffer->size, bytes, size);
	buffer->size += size;
	return true;
}

bool buffer_add_text(struct buffer *buffer, const char *text, uint64_t size) {
	int32_t length = text ? (int32_t)size : -1;
	if (size > MAX_PAYLOAD)
		return false;
	return buffer_add(buffer, &length, 4) && (!text || buffer_add(buffer, text, size));
}

void buffer_free(struct buffer *buffer) {
	free(buffer->bytes);
	*buffer = (struct buffer){0};
}

bool read_bytes(struct reader *reader, void *into, uint64_t size) {
	if (size > reader->left)
		return false;
	memcpy(into, reader->at, size);
	reader->at += size;
	reader->left -= size;
	return true;
}

bool read_text(struct reader *reader, const char **text, uint32_t *size) {
	*text = NULL;
	if (!read_bytes(reader, size, 4))
		return false;
	if (*size == UINT32_MAX) {
		*size = 0;
		return true;
	}
	if (*size > reader->left || !is_utf8(reader->at, *size))
		return false;
	*text = (const char *)reader->at;
	reader->at += *size;
	reader->left -= *size;
	return true;
}

/* Length of the character that begins here, 0 if it is none: Unicode's table 3-7. */
static uint64_t character(const uint8_t *at, uint64_t left) {
	uint8_t first = at[0], low = 0x80, high = 0xBF;
	if (first < 0x80)
		return 1;
	uint64_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
	if (first < 0xC2 || first > 0xF4 || length > left)
		return 0;
	low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : low;
	high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : high;
	if (at[1] < low || at[1] > high)
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

bool parts_add(struct parts *parts, const void *bytes, uint64_t size) {
	if (parts->count == parts->capacity) {
		uint64_t capacity = parts->capacity * 2 + 16;
		struct iovec *items = realloc(parts->items, capacity * sizeof *items);
		if (!items)
			return false;
		parts->items = items;
		parts->capacity = capacity;
	}
	if (!parts->count)
		parts->count = 1; /* the first part will be the header */
	parts->items[parts->count++] = (struct iovec){(void *)bytes, size};
	parts->size += size;
	return true;
}

bool parts_add_buffer(struct parts *parts, struct buffer *buffer) {
	uint64_t padding = -buffer->size & 7;
	if (!buffer_reserve(buffer, 8))
		return false;
	memset(buffer->bytes + buffer->size, 0, 8);
	return parts_add(parts, &buffer->size, 8) && parts_add(parts, buffer->bytes, buffer->size + padding);
}

/* Wait until the socket can be read or written. */
static enum outcome ready(int fd, short events) {
	for (;;) {
		struct pollfd one = {fd, events, 0};
		int found = poll(&one, 1, 100);
		if (interrupted())
			return INTERRUPTED;
		if (found > 0)
			return DONE;
		if (found < 0 && errno != EINTR)
			return CLOSED;
	}
}

/* Write all parts, some at a time; they are left as they are, so that they can be sent again. */
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
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return CLOSED;
		if (sent < 0) {
			enum outcome outcome = ready(fd, POLLOUT);
			if (outcome)
				return outcome;
			continue;
		}
		for (done += (uint64_t)sent; count && done >= items->iov_len; items++, count--)
			done -= items->iov_len;
	}
	return DONE;
}

struct header {
	uint32_t type, zero;
	uint64_t size;
};

enum outcome frame_send(int fd, char type, struct parts *parts) {
	bool empty = !parts || !parts->count;
	struct header header = {(uint8_t)type, 0, empty ? 0 : parts->size};
	struct iovec alone, *items = empty ? &alone : parts->items;
	if (header.size > MAX_PAYLOAD)
		return BROKEN;
	*items = (struct iovec){&header, sizeof header};
	return write_parts(fd, items, empty ? 1 : parts->count);
}

static enum outcome read_exactly(int fd, uint8_t *into, uint64_t size) {
	while (size) {
		ssize_t got = recv(fd, into, size, MSG_DONTWAIT);
		if (got > 0) {
			into += got;
			size -= (uint64_t)got;
			continue;
		}
		if (got == 0 || (errno != EAGAIN && errno != EINTR))
			return CLOSED;
		enum outcome outcome = ready(fd, POLLIN);
		if (outcome)
			return outcome;
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
	payload->size = 0;
	if (!buffer_reserve(payload, header.size))
		return NO_MEMORY;
	*type = (char)header.type;
	outcome = read_exactly(fd, payload->bytes, header.size);
	payload->size = outcome ? 0 : header.size;
	return outcome;
}
