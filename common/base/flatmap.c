/* flatmap: see flatmap.h. */
#include "base/flatmap.h"

#include <stdint.h>
#include <string.h>

int flatmap_open(struct flatmap *m, const void *data, size_t len)
{
    const uint8_t *p = data;
    *m = (struct flatmap){.data = data, .len = len};
    if (len >= 1 && (p[0] & 0xf0) == 0x80) {
        m->at = 1;
        return p[0] & 0x0f;
    }
    if (len >= 3 && p[0] == 0xde) {
        m->at = 3;
        return p[1] << 8 | p[2];
    }
    return -1;
}

void flatmap_close(struct flatmap *m)
{
    msgpack_unpacked_destroy(&m->item);
}

static bool is_container(uint8_t head)
{
    return (head & 0xe0) == 0x80 || (head >= 0xdc && head <= 0xdf);
}

const msgpack_object *flatmap_next(struct flatmap *m)
{
    if (m->at >= m->len || is_container((uint8_t)m->data[m->at]))
        return NULL;
    int rc = msgpack_unpack_next(&m->item, m->data, m->len, &m->at);
    return rc == MSGPACK_UNPACK_SUCCESS || rc == MSGPACK_UNPACK_EXTRA_BYTES ? &m->item.data : NULL;
}

bool flatmap_is(const msgpack_object *o, const char *text)
{
    return o->type == MSGPACK_OBJECT_STR && o->via.str.size == strlen(text) &&
           memcmp(o->via.str.ptr, text, o->via.str.size) == 0;
}

int flatmap_to_buf(void *buf, const char *data, size_t len)
{
    buf_append(buf, data, len);
    return 0;
}

static void put_key(msgpack_packer *pk, const char *key)
{
    msgpack_pack_str_with_body(pk, key, strlen(key));
}

void flatmap_put_text(msgpack_packer *pk, const char *key, const char *text)
{
    put_key(pk, key);
    if (text)
        msgpack_pack_str_with_body(pk, text, strlen(text));
    else
        msgpack_pack_nil(pk);
}

void flatmap_put_bytes(msgpack_packer *pk, const char *key, const void *data, size_t len)
{
    put_key(pk, key);
    msgpack_pack_bin_with_body(pk, data, len);
}

void flatmap_put_bool(msgpack_packer *pk, const char *key, bool on)
{
    put_key(pk, key);
    if (on)
        msgpack_pack_true(pk);
    else
        msgpack_pack_false(pk);
}

void flatmap_put_int(msgpack_packer *pk, const char *key, int64_t n)
{
    put_key(pk, key);
    msgpack_pack_int64(pk, n);
}
