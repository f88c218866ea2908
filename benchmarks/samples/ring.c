/* A ring of bytes between one writer and one reader, with lines on top of it. */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_MAGIC 0x52494e47u
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define CHECK(ring)                                  \
    do {                                             \
        assert((ring) != NULL);                      \
        assert((ring)->magic == RING_MAGIC);         \
    } while (0)

typedef struct ring {
    uint32_t magic;
    size_t size; /* a power of two */
    size_t head, tail;
    unsigned char *bytes;
    void (*on_full)(struct ring *, void *);
    void *context;
} ring_t;

static const char *const messages[] = {
    [0] = "ok",
    [ENOMEM] = "out of memory",
    [EINVAL] = "expected a size that is a power of two",
};

ring_t *ring_new(size_t size, void (*on_full)(ring_t *, void *), void *context)
{
    if (size == 0 || (size & (size - 1)) != 0) {
        fprintf(stderr, "ring: %s, got %zu\n", messages[EINVAL], size);
        errno = EINVAL;
        return NULL;
    }
    ring_t *ring = calloc(1, sizeof *ring);
    if (ring == NULL || (ring->bytes = malloc(size)) == NULL) {
        free(ring);
        errno = ENOMEM;
        return NULL;
    }
    *ring = (ring_t){.magic = RING_MAGIC, .size = size, .bytes = ring->bytes, .on_full = on_full, .context = context};
    return ring;
}

size_t ring_used(const ring_t *ring)
{
    CHECK(ring);
    return ring->head - ring->tail;
}

size_t ring_write(ring_t *ring, const void *data, size_t length)
{
    const unsigned char *from = data;
    size_t written = 0;

    CHECK(ring);
    while (written < length) {
        size_t room = ring->size - ring_used(ring);
        if (!room) {
            if (!ring->on_full)
                break;
            ring->on_full(ring, ring->context);
            continue;
        }
        size_t at = ring->head & (ring->size - 1);
        size_t part = MIN(MIN(room, length - written), ring->size - at);
        memcpy(ring->bytes + at, from + written, part);
        ring->head += part;
        written += part;
    }
    return written;
}

/* Copies a line without its end; -1 if there is no whole line yet. */
long ring_line(ring_t *ring, char *line, size_t capacity)
{
    size_t length = 0;
    bool escaped = false;

    for (size_t at = ring->tail; at != ring->head; at++) {
        int byte = ring->bytes[at & (ring->size - 1)];
        if (byte == '\n' && !escaped)
            goto found;
        escaped = byte == '\\' && !escaped;
        if (length + 1 < capacity)
            line[length++] = (char)(byte == '\t' ? ' ' : byte);
    }
    return -1L;

found:
    line[length] = '\0';
    ring->tail += length + 1;
    return (long)length;
}

void ring_free(ring_t *ring)
{
    if (ring) {
        ring->magic = ~RING_MAGIC;
        free(ring->bytes);
        free(ring);
    }
}
