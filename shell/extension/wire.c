#include "thresher.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char CLOSED[] = "thresher: the worker went away. The next query starts another.";
const char INTERRUPTED[] = "interrupted";
const char BROKEN[] = "thresher: the worker does not keep to the protocol";
const char NO_MEMORY[] = "thresher: out of memory, or a value is over 1 GiB long";

void *buffer_extend(struct buffer *buffer, uint64_t more) {
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
	void *room = buffer_extend(buffer, size);
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

/* Send or receive so many bytes. The socket's timeout lets an interrupt be noticed. */
static failure transfer(const struct link *link, uint8_t *bytes, uint64_t size, bool sending) {
	while (size) {
		ssize_t done = sending ? send(link->fd, bytes, size, MSG_NOSIGNAL) : recv(link->fd, bytes, size, 0);
		if (done == 0 || (done < 0 && errno != EAGAIN && errno != EINTR))
			return CLOSED;
		if (done < 0 && interrupted(link->since))
			return INTERRUPTED;
		bytes += done > 0 ? done : 0;
		size -= done > 0 ? (uint64_t)done : 0;
	}
	return NULL;
}

/* A header is u32 type, u32 zero, u64 length: two numbers of 64 bits. */
failure frame_send(const struct link *link, char type, const struct buffer *payload) {
	uint64_t header[2] = {(uint8_t)type, payload->size};
	if (payload->failed || payload->size > MAX_PAYLOAD)
		return NO_MEMORY;
	failure failed = transfer(link, (uint8_t *)header, sizeof header, true);
	return failed ? failed : transfer(link, payload->bytes, payload->size, true);
}

failure frame_receive(struct link *link, char *type) {
	struct buffer *payload = &link->reply;
	uint64_t header[2];
	failure failed = transfer(link, (uint8_t *)header, sizeof header, false);
	if (!failed && (header[0] <= ' ' || header[0] > '~' || header[1] > MAX_PAYLOAD))
		failed = BROKEN;
	if (failed)
		return failed;
	*type = (char)header[0];
	payload->size = 0;
	uint8_t *room = buffer_extend(payload, header[1]);
	return room ? transfer(link, room, header[1], false) : NO_MEMORY;
}
