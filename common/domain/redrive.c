/* redrive: see redrive.h. */
#include "domain/redrive.h"

#include "base/json.h"
#include "base/timestamp.h"
#include "base/uuid.h"

#include <string.h>

enum { AT_ONCE = 500, LOOK_MS = 1000, SHORTEST_MS = 50 };

void redrive_token(char out[REDRIVE_TOKEN_LEN + 1])
{
    char text[UUID_STRLEN + 1];
    const struct uuid id = uuid_v4();
    uuid_format(&id, text);
    memcpy(out, text, REDRIVE_TOKEN_LEN);
    out[REDRIVE_TOKEN_LEN] = '\0';
}

bool redrive_is_token(const char *text)
{
    return strlen(text) == REDRIVE_TOKEN_LEN &&
           strspn(text, "0123456789abcdef") == REDRIVE_TOKEN_LEN;
}

/* --- the filter -------------------------------------------------------------------------- */

static void put_time(struct buf *b, const char *key, const int64_t *us)
{
    char at[TIMESTAMP_ISO_LEN + 1];
    if (!us)
        return;
    timestamp_iso(*us, at);
    json_put_text(b, key, at);
}

static void put_given(struct buf *b, const char *key, const char *text)
{
    if (text)
        json_put_text(b, key, text);
}

void redrive_put_filter(const struct failed_filter *f, struct buf *b)
{
    buf_putc(b, '{');
    put_given(b, "url", f->url);
    put_given(b, "watch_id", f->watch);
    put_time(b, "since", f->since);
    put_time(b, "until", f->until);
    put_given(b, "error", f->error);
    buf_putc(b, '}');
}

/* --- the walk ---------------------------------------------------------------------------- */

static int64_t taken(const struct redrive_walk *w)
{
    return w->queued + w->changed;
}

void redrive_walk_begin(struct redrive_walk *w, double per_second, int64_t now_ms)
{
    *w = (struct redrive_walk){.per_second = per_second, .started_ms = now_ms};
}

int redrive_walk_allowed(struct redrive_walk *w, int64_t now_ms)
{
    const double rate = w->per_second / 1000;
    double n = (double)(now_ms - w->started_ms) * rate - (double)taken(w) + 1;
    double most = w->per_second > 1 ? w->per_second : 1;
    if (n > most) {
        w->started_ms = now_ms - (int64_t)(((double)taken(w) + most - 1) / rate);
        n = most;
    }
    return n < 1 ? 0 : n > AT_ONCE ? AT_ONCE : (int)n;
}

int64_t redrive_walk_wait_ms(const struct redrive_walk *w)
{
    int64_t ms = (int64_t)(1000 / w->per_second);
    return ms > LOOK_MS ? LOOK_MS : ms < SHORTEST_MS ? SHORTEST_MS : ms;
}

int redrive_walk_take(struct redrive_walk *w, const PGresult *rows)
{
    int n = 0;
    for (int i = 0; i < PQntuples(rows); i++) {
        if (PQgetisnull(rows, i, AGAIN_N))
            continue;
        bool done = *db_text(rows, i, AGAIN_DONE) == 't';
        w->queued += done;
        w->changed += !done;
        w->after = db_int(rows, i, AGAIN_N);
        n++;
    }
    w->again &= n == 0;
    return n;
}

bool redrive_walk_over(struct redrive_walk *w)
{
    bool over = w->again;
    w->again = true;
    w->after = 0;
    return over;
}
