/* uuid: see uuid.h. */
#include "base/uuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* A pool saves a system call for most ids. It has 256 bytes: that much getrandom(2) never cuts
 * short when a signal arrives. It is tagged with the pid, so that a forked child never hands out
 * the ids of its parent. */
static void random_bytes(uint8_t *out, size_t n)
{
    static uint8_t pool[256];
    static size_t left;
    static pid_t owner;

    if (left < n || owner != getpid()) {
        if (getrandom(pool, sizeof(pool), 0) != (ssize_t)sizeof(pool))
            abort(); /* no entropy: nothing safe can be done */
        left = sizeof(pool);
        owner = getpid();
    }
    left -= n;
    memcpy(out, pool + left, n);
    memset(pool + left, 0, n);
}

static struct uuid stamped(struct uuid u, int version)
{
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | (version << 4));
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

struct uuid uuid_v4(void)
{
    struct uuid u;
    random_bytes(u.b, sizeof(u.b));
    return stamped(u, 4);
}

struct uuid uuid_v7(int64_t wall_ms)
{
    struct uuid u;
    random_bytes(u.b, sizeof(u.b));
    for (int i = 0; i < 6; i++)
        u.b[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    return stamped(u, 7);
}

struct uuid uuid_from_digest(const uint8_t digest[32])
{
    struct uuid u;
    memcpy(u.b, digest, sizeof(u.b));
    return stamped(u, 8);
}

void uuid_format(const struct uuid *u, char out[UUID_STRLEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    char *p = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex[u->b[i] >> 4];
        *p++ = hex[u->b[i] & 15];
    }
    *p = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool uuid_parse(const char *s, struct uuid *out)
{
    struct uuid u;
    if (strlen(s) != UUID_STRLEN)
        return false;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            if (*s++ != '-')
                return false;
        int hi = nibble(s[0]), lo = nibble(s[1]);
        if (hi < 0 || lo < 0)
            return false;
        u.b[i] = (uint8_t)(hi << 4 | lo);
        s += 2;
    }
    *out = u;
    return true;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}
