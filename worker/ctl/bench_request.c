/* bench_request: see bench_request.h. */
#include "worker/ctl/bench_request.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/timestamp.h"
#include "base/uuid.h"

enum { URL_ROOM = 512 };

static const char *url_of(const struct bench_request *r, int64_t n, char room[URL_ROOM])
{
    int64_t which = r->n_urls ? n % (int64_t)r->n_urls : n;
    if (r->urls)
        return r->urls[which];
    snprintf(room, URL_ROOM, "%s/%s/%lld", r->site, r->run, (long long)which);
    return room;
}

static void put_change(const struct bench_request *r, int64_t n, const char *url, struct buf *body)
{
    char now[TIMESTAMP_ISO_LEN + 1], title[64];
    timestamp_iso(clock_wall_us(), now);
    snprintf(title, sizeof(title), "event %lld", (long long)n); /* no two bodies are equal */
    payload_put_change(body, &(struct payload_change){.watch_id = r->run,
                                 .url = url,
                                 .title = title,
                                 .detected_at = now,
                                 .snapshot = r->padding});
}

static void put_crawl(const struct bench_request *r, const char *url, struct buf *body)
{
    char scrape[UUID_STRLEN + 1];
    struct uuid id = uuid_v4();
    uuid_format(&id, scrape);
    payload_put_crawl(body, &(struct payload_crawl){.type = "crawl.page",
                                .crawl = r->run,
                                .url = url,
                                .title = "bench",
                                .markdown = r->padding,
                                .scrape_id = scrape});
}

void bench_request_put(const struct bench_request *r, int64_t n, struct buf *body, struct buf *out)
{
    char room[URL_ROOM];
    const char *url = url_of(r, n, room);
    buf_clear(body);
    buf_clear(out);
    if (r->source == PAYLOAD_CHANGE)
        put_change(r, n, url, body);
    else
        put_crawl(r, url, body);
    char *credential = payload_credential(r->source, r->cfg, r->token, body->data, body->len);
    buf_printf(out,
        "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: hooklinectl/" HOOKLINE_VERSION
        "\r\nContent-Type: application/json\r\n%s\r\nContent-Length: %zu\r\n\r\n",
        r->path, r->host, credential, body->len);
    buf_append(out, body->data, body->len);
    free(credential);
}
