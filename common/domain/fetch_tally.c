/* fetch_tally: see fetch_tally.h. A short array: to compare a hundred hashes costs less than what a fetch does
 * anyway by far. */
#include "domain/fetch_tally.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct count {
    int64_t n, took_ms;
};

struct host {
    char *name;
    uint32_t hash;
    struct count counted[FETCH_COUNT], sent[FETCH_COUNT];
};

struct fetch_tally {
    struct host hosts[TALLY_HOSTS + 1]; /* the last place is for the others */
    int len;
    int64_t hour;
};

static uint32_t hash_of(const char *s)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static struct host *find(struct fetch_tally *t, const char *name, uint32_t hash)
{
    for (int i = 0; i < t->len; i++)
        if (t->hosts[i].hash == hash && strcmp(t->hosts[i].name, name) == 0)
            return &t->hosts[i];
    return NULL;
}

static struct host *add(struct fetch_tally *t, const char *name, uint32_t hash)
{
    if (t->len == TALLY_HOSTS + 1)
        return &t->hosts[TALLY_HOSTS];
    if (t->len == TALLY_HOSTS) {
        name = TALLY_OTHERS;
        hash = hash_of(name);
    }
    t->hosts[t->len] = (struct host){.name = mem_strdup(name), .hash = hash};
    return &t->hosts[t->len++];
}

struct fetch_tally *fetch_tally_new(void)
{
    return mem_new(struct fetch_tally);
}

static void forget(struct fetch_tally *t)
{
    for (int i = 0; i < t->len; i++)
        free(t->hosts[i].name);
    t->len = 0;
}

void fetch_tally_free(struct fetch_tally *t)
{
    if (!t)
        return;
    forget(t);
    free(t);
}

void fetch_tally_count(
    struct fetch_tally *t, const char *host, enum meter_FETCH outcome, int64_t took_ms)
{
    uint32_t hash = hash_of(host);
    struct host *h = find(t, host, hash);
    if (!h)
        h = add(t, host, hash);
    h->counted[outcome].n++;
    h->counted[outcome].took_ms += took_ms;
}

bool fetch_tally_send(struct fetch_tally *t,
    void (*put)(void *ctx, const char *host, enum meter_FETCH outcome, int64_t n, int64_t took_ms),
    void *ctx)
{
    bool any = false;
    for (int i = 0; i < t->len; i++)
        for (int o = 0; o < FETCH_COUNT; o++) {
            struct host *h = &t->hosts[i];
            h->sent[o] = h->counted[o];
            if (!h->sent[o].n)
                continue;
            any = true;
            put(ctx, h->name, (enum meter_FETCH)o, h->sent[o].n, h->sent[o].took_ms);
        }
    return any;
}

void fetch_tally_written(struct fetch_tally *t, bool written, int64_t hour)
{
    bool empty = true;
    for (int i = 0; i < t->len; i++)
        for (int o = 0; o < FETCH_COUNT; o++) {
            struct host *h = &t->hosts[i];
            if (written) {
                h->counted[o].n -= h->sent[o].n;
                h->counted[o].took_ms -= h->sent[o].took_ms;
            }
            h->sent[o] = (struct count){0};
            empty = empty && !h->counted[o].n;
        }
    if (empty && hour != t->hour) {
        forget(t);
        t->hour = hour;
    }
}
