/* Buffers, texts and frames. All numbers on the wire are little-endian. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define MAX_PAYLOAD ((uint64_t)1 << 30) /* bytes of one frame */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(size_t) == 8, "64 bits, little-endian");

/* Bytes that grow. Where memory runs out `failed` is set, and nothing is added any more. */
struct buffer {
	uint8_t *bytes;
	uint64_t size, capacity; /* `size` goes over the wire as it stands here */
	bool failed;
};
uint8_t *buffer_extend(struct buffer *buffer, uint64_t more); /* room for `more` bytes, which count; or NULL */
void buffer_add(struct buffer *buffer, const void *bytes, uint64_t size);
void buffer_add_text(struct buffer *buffer, const char *text, uint64_t size); /* a NULL pointer is a NULL */
void buffer_free(struct buffer *buffer);

/* A cursor over bytes received; its functions are false where they end early. */
struct reader {
	const uint8_t *at;
	uint64_t left;
};
bool read_bytes(struct reader *reader, void *into, uint64_t size);
bool read_text(struct reader *reader, const char **text, uint32_t *size); /* *text is NULL for a NULL */
bool is_utf8(const uint8_t *text, uint64_t size);

/* The payload of a frame in parts, which belong to others; the first place is kept for the header. */
struct parts {
	struct iovec *items;
	uint64_t count, capacity, size;
	bool failed;
};
void parts_add(struct parts *parts, const void *bytes, uint64_t size);
void parts_add_buffer(struct parts *parts, struct buffer *buffer); /* u64 size, bytes, padding to 8 */

enum outcome { DONE, CLOSED, INTERRUPTED, BROKEN, NO_MEMORY };
enum outcome frame_send(int fd, char type, struct parts *parts);
enum outcome frame_receive(int fd, char *type, struct buffer *payload);

/* While somebody waits, Ctrl-C is noticed here, and by whoever handled it before. */
void interrupts_begin(void);
void interrupts_end(void);
bool interrupted(void);
