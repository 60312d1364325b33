/* slowdown: see slowdown.h. */
#include "producer/slowdown.h"

#include <stdio.h>
#include <string.h>

/* NULL: it has not failed. */
static struct slowdown_row *row_of(const struct slowdown *s, const char *client)
{
    for (size_t i = 0; i < SLOWDOWN_CLIENTS; i++)
        if (strcmp(s->rows[i].client, client) == 0)
            return (struct slowdown_row *)&s->rows[i];
    return NULL;
}

static struct slowdown_row *new_row(struct slowdown *s, const char *client)
{
    struct slowdown_row *oldest = s->rows;
    for (struct slowdown_row *r = s->rows; r < s->rows + SLOWDOWN_CLIENTS; r++)
        if (r->at_ms < oldest->at_ms) /* a free one has 0 */
            oldest = r;
    *oldest = (struct slowdown_row){0};
    snprintf(oldest->client, sizeof(oldest->client), "%s", client);
    return oldest;
}

int64_t slowdown_wait_ms(const struct slowdown *s, const char *client, int64_t now_ms)
{
    const struct slowdown_row *r = row_of(s, client);
    return r && r->until_ms > now_ms ? r->until_ms - now_ms : 0;
}

int64_t slowdown_failed(struct slowdown *s, const char *client, int64_t now_ms)
{
    struct slowdown_row *r = row_of(s, client);
    if (!r)
        r = new_row(s, client);
    if (now_ms - r->at_ms >= SLOWDOWN_FORGET_MS)
        r->n = 0;
    int64_t delay = SLOWDOWN_FIRST_MS;
    for (int i = 0; i < r->n && delay < SLOWDOWN_LONGEST_MS; i++)
        delay *= 2;
    if (delay < SLOWDOWN_LONGEST_MS)
        r->n++;
    else
        delay = SLOWDOWN_LONGEST_MS;
    r->at_ms = now_ms;
    r->until_ms = now_ms + delay;
    return delay;
}

void slowdown_forgive(struct slowdown *s, const char *client)
{
    struct slowdown_row *r = row_of(s, client);
    if (r)
        *r = (struct slowdown_row){0};
}
