/* Buffers, texts and frames. All numbers on the wire are little-endian. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_PAYLOAD ((uint64_t)1 << 30) /* bytes of one frame */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(size_t) == 8, "a 64-bit little-endian machine");

/* Bytes that grow. `size` goes over the wire as it stands in memory. */
struct buffer {
	uint8_t *bytes;
	uint64_t size, capacity;
};
bool buffer_reserve(struct buffer *buffer, uint64_t more); /* false: no memory */
bool buffer_add(struct buffer *buffer, const void *bytes, uint64_t size);
bool buffer_add_text(struct buffer *buffer, const char *text, uint64_t size); /* NULL is a NULL */
void buffer_free(struct buffer *buffer);

/* A cursor over bytes received; each function is false where they end early. */
struct reader {
	const uint8_t *at;
	uint64_t left;
};
bool read_bytes(struct reader *reader, void *into, uint64_t size);
bool read_text(struct reader *reader, const char **text, uint32_t *size); /* *text is NULL for NULL */
bool is_utf8(const uint8_t *text, uint64_t size);

/* Parts of a frame that is sent: memory that belongs to others until then. */
struct parts {
	struct iovec *items;
	uint64_t count, capacity, size;
};
bool parts_add(struct parts *parts, const void *bytes, uint64_t size);
bool parts_add_buffer(struct parts *parts, struct buffer *buffer); /* u64 size, bytes, padding to 8 */

enum outcome { DONE, CLOSED, INTERRUPTED, BROKEN, NO_MEMORY };
enum outcome frame_send(int fd, char type, struct parts *parts); /* parts may be NULL */
enum outcome frame_receive(int fd, char *type, struct buffer *payload);

/* While somebody waits, Ctrl-C is noticed here and also by whoever handled it before. */
void interrupts_begin(void);
void interrupts_end(void);
bool interrupted(void);
void interruptible_sleep(int milliseconds);
