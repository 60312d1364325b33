/* flatmap: reads and writes the form that all jobs have: one msgpack map, none of whose keys and
 * values is a map or an array. Jobs come out of places that others can write to, so nothing is
 * trusted: items are unpacked one at a time, nothing nests, and msgpack-c, which allocates what a
 * container's header claims, never meets a container. */
#ifndef HL_BASE_FLATMAP_H
#define HL_BASE_FLATMAP_H

#include "base/buf.h"

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flatmap {
    const char *data; /* borrowed */
    size_t len, at;
    msgpack_unpacked item; /* the item read last; its strings point into data */
};

/* Number of pairs of the map that data begins with; -1 when it does not begin with a map. */
int flatmap_open(struct flatmap *m, const void *data, size_t len);
void flatmap_close(struct flatmap *m);
/* The next key or value, borrowed until the next call; NULL: the data ends, or it is a container. */
const msgpack_object *flatmap_next(struct flatmap *m);
bool flatmap_is(const msgpack_object *o, const char *text); /* a string of exactly that text */

/* msgpack_packer's writer: data goes to the end of a struct buf. */
int flatmap_to_buf(void *buf, const char *data, size_t len);
/* One pair each. text NULL: nil. */
void flatmap_put_text(msgpack_packer *pk, const char *key, const char *text);
void flatmap_put_bytes(msgpack_packer *pk, const char *key, const void *data, size_t len);
void flatmap_put_bool(msgpack_packer *pk, const char *key, bool on);
void flatmap_put_int(msgpack_packer *pk, const char *key, int64_t n);

#endif
