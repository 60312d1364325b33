/* crawls: see chaos.h. Whole small crawls are posted, shuffled, some events twice, some a second time
 * with another body; what becomes of them is checked from what was planned. A client writes each line
 * before or after a post, at once; its first word is the table of schema chaos that it goes to. */
#include "tests/chaos/chaos.h"

#include "base/identity.h"
#include "base/uuid.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SITE "http://crawl.test"
enum { MAX_PAGES = 12, MAX_EVENTS = MAX_PAGES + 2, TRIES = 8, URL_LEN = 160, HOT_PAGES = 8 };

/* --- one event --------------------------------------------------------------------------- */

/* The twin has the same name and another body, which says the same: whichever comes first counts. */
struct planned {
    char id[UUID_STRLEN + 1];
    char *body, *twin;
    bool is_page;
};

struct crawl_plan {
    struct crawl_poster *poster;
    char id[48];
    const char *family; /* "crawl", "batch_scrape" */
    int pages;          /* so far; names them */
    struct planned events[MAX_EVENTS];
    int n;
};

static void plan(struct crawl_plan *p, const char *kind, const char *key, const char *members)
{
    struct planned *e = &p->events[p->n++];
    bool page = strcmp(kind, "page") == 0, failed = strcmp(kind, "failed") == 0;
    char *name = mem_printf("%s\n%s.%s\n%s", p->id, p->family, kind, key);
    struct uuid id = identity_of("firecrawl", IDENTITY_ID, name).id;

    uuid_format(&id, e->id);
    e->is_page = page;
    for (int i = 0; i < 2; i++)
        *(i ? &e->twin : &e->body) = mem_printf(
            "{\"success\":%s,\"type\":\"%s.%s\",\"id\":\"%s\",%s%s\"metadata\":{\"url\":\"" SITE
            "/%s\"}}",
            failed ? "false" : "true", p->family, kind, p->id, members,
            i ? "\"sent\":\"again\"," : "", p->id);
    dprintf(p->poster->fd, "crawl_events\t%s\t%s\t%s\t%s\n", e->id, p->id, p->family, kind);
    free(name);
}

/* What zstd cannot make much smaller. Kept, but in no index: thousands of words that stand nowhere
 * else would be all that PostgreSQL is busy with. */
static void put_text(struct dice *d, struct buf *out, int bytes)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-+";
    for (int i = 0; i < bytes; i++)
        buf_putc(out, i % 12 == 11 ? ' ' : letters[dice_upto(d, 64)]);
}

/* Most jobs travel in the stream, some beside it, a few are read in a thread by the producer too. */
static int choose_size(struct dice *d)
{
    int n = dice_upto(d, 100);
    return n < 92 ? 300 : n < 98 ? 100 * 1024 : 300 * 1024;
}

/* Pages of the crawl, a few that change events are about as well; a few that were fetched twice. */
static void choose_url(struct crawl_plan *p, char url[URL_LEN])
{
    int n = dice_upto(&p->poster->dice, 100);
    if (n < 5)
        snprintf(url, URL_LEN, "http://page.test/ok/hot%d", dice_upto(&p->poster->dice, HOT_PAGES));
    else if (n < 10 && p->pages)
        snprintf(url, URL_LEN, SITE "/%s/%d", p->id, dice_upto(&p->poster->dice, p->pages));
    else
        snprintf(url, URL_LEN, SITE "/%s/%d", p->id, p->pages);
}

struct document {
    char url[URL_LEN];
    int code;
    bool indexed;
};

static struct document put_document(struct crawl_plan *p, const char *scrape_id, struct buf *data)
{
    struct dice *d = &p->poster->dice;
    struct document doc = {.code = 200};
    bool empty = dice_upto(d, 20) == 0;
    if (dice_upto(d, 10) == 0)
        doc.code = 404;
    doc.indexed = !empty && doc.code == 200;
    choose_url(p, doc.url);
    buf_printf(data, "%s{\"markdown\":\"%s\"", data->len ? "," : "",
        empty ? "" : "A page of a crawl, of few words");
    if (!empty) {
        buf_puts(data, ",\"html\":\"");
        put_text(d, data, choose_size(d));
        buf_putc(data, '"');
    }
    buf_printf(data,
        ",\"metadata\":{\"title\":\"Page %d\",\"scrapeId\":\"%s\",\"sourceURL\":\"%s\",\"url\":"
        "\"%s\",\"statusCode\":%d}}",
        p->pages, scrape_id, doc.url, doc.url, doc.code);
    p->pages++;
    return doc;
}

/* Of one document, named by its scrapeId, or of several, named by a webhookId. */
static void plan_pages(struct crawl_plan *p, int documents)
{
    struct buf data = {0}, members = {0};
    struct document docs[MAX_PAGES];
    char key[96], scrape_id[96];

    snprintf(key, sizeof(key), "%s-page-%d", p->id, p->pages);
    for (int i = 0; i < documents; i++) {
        snprintf(scrape_id, sizeof(scrape_id), "%s-page-%d", p->id, p->pages);
        docs[i] = put_document(p, scrape_id, &data);
    }
    if (documents > 1)
        buf_printf(&members, "\"webhookId\":\"%s\",", key);
    buf_printf(&members, "\"data\":[%s],", data.data);
    plan(p, "page", key, members.data);
    for (int i = 0; i < documents; i++)
        dprintf(p->poster->fd, "crawl_pages\t%s\t%s\t%d\t%d\n", p->events[p->n - 1].id, docs[i].url,
            docs[i].code, docs[i].indexed);
    buf_release(&data);
    buf_release(&members);
}

/* --- one crawl --------------------------------------------------------------------------- */

static void plan_crawl(struct crawl_plan *p, int number)
{
    struct dice *d = &p->poster->dice;
    int pages = dice_upto(d, MAX_PAGES + 1), end = dice_upto(d, 100);

    snprintf(p->id, sizeof(p->id), "crawl-%d-%d", p->poster->number, number);
    p->family = dice_upto(d, 4) ? "crawl" : "batch_scrape";
    plan(p, "started", "", "");
    while (p->pages < pages) {
        int documents = dice_upto(d, 10) ? 1 : dice_between(d, 1, 3);
        plan_pages(p, documents < pages - p->pages ? documents : pages - p->pages);
    }
    if (end < 85)
        plan(p, "completed", "", "");
    else if (end < 95)
        plan(p, "failed", "", "\"error\":\"the stand-in failed\",");
    else if (end < 98)
        plan(p, "cancelled", "", "");
}

int crawls_post(int port, const char *body)
{
    static const char headers[] =
        "Content-Type: application/json\r\nAuthorization: Bearer " CHAOS_TOKEN "\r\n";
    return test_http(port, "POST", "/api/webhook/firecrawl", headers, body, strlen(body)).status;
}

static bool acked(int status)
{
    return status == 200 || status == 202;
}

static int post(struct crawl_poster *c, const struct planned *e, bool twin)
{
    int64_t begun = wall_us();
    int status = crawls_post(c->ports[dice_upto(&c->dice, HOSTS)], twin ? e->twin : e->body);
    dprintf(c->fd, "crawl_posts\t%lld\t%s\t%d\t%d\t%lld\n", (long long)begun, e->id, twin, status,
        (long long)wall_us());
    return status;
}

/* A sender that got no receipt tries again; some repeat themselves anyway. */
static void deliver(struct crawl_poster *c, const struct planned *e)
{
    int status = post(c, e, false), odd = dice_upto(&c->dice, 100);
    for (int i = 1; i < TRIES && !acked(status) && status != 409 && !c->stopped(); i++) {
        poll(NULL, 0, dice_between(&c->dice, 20, 200));
        status = post(c, e, false);
    }
    if (acked(status) && odd < 10)
        post(c, e, odd < 3);
}

void crawls_post_one(struct crawl_poster *c, int number)
{
    struct crawl_plan p = {.poster = c};
    int order[MAX_EVENTS];

    plan_crawl(&p, number);
    for (int i = 0; i < p.n; i++)
        order[i] = i;
    dice_shuffle(&c->dice, order, p.n);
    for (int i = 0; i < p.n && !c->stopped(); i++) {
        deliver(c, &p.events[order[i]]);
        poll(NULL, 0, dice_between(&c->dice, 1, 60));
    }
    for (int i = 0; i < p.n; i++) {
        free(p.events[i].body);
        free(p.events[i].twin);
    }
}

/* --- the books --------------------------------------------------------------------------- */

const char crawls_install_sql[] =
    "CREATE TABLE chaos.crawl_events (event_id uuid, crawl_id text, family text, kind text);"
    "CREATE TABLE chaos.crawl_pages (event_id uuid, url text, code integer, indexed boolean);"
    "CREATE TABLE chaos.crawl_posts (begun bigint, event_id uuid, twin boolean, status integer,"
    "  ended bigint);"
    "CREATE TABLE chaos.flushes (at bigint);"
    "CREATE TABLE chaos.crawl_stored (event_id uuid, at timestamptz);"
    "CREATE FUNCTION chaos.note_stored() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
    "  INSERT INTO chaos.crawl_stored VALUES (NEW.event_id, clock_timestamp());"
    "  RETURN NULL; END $f$;"
    "CREATE TRIGGER chaos AFTER INSERT ON webhook.crawl_events"
    "  FOR EACH ROW EXECUTE FUNCTION chaos.note_stored();"
    "CREATE TABLE chaos.crawled (url text, old_at timestamptz, at timestamptz, old_seq bigint,"
    "  seq bigint);"
    "CREATE FUNCTION chaos.note_crawled() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
    "  INSERT INTO chaos.crawled VALUES (NEW.canonical_url, OLD.scraped_at, NEW.scraped_at,"
    "    OLD.scrape_seq, NEW.scrape_seq);"
    "  RETURN NULL; END $f$;"
    "CREATE TRIGGER chaos_crawled AFTER UPDATE ON webhook.documents"
    "  FOR EACH ROW WHEN (NEW.claim_epoch IS NULL) EXECUTE FUNCTION chaos.note_crawled();";

static const char *const tables[] = {"crawl_events", "crawl_pages", "crawl_posts"};

void crawls_load(struct stack *s, const char *const *files, int n)
{
    struct buf rows[COUNT(tables)] = {{0}};
    for (int i = 0; i < n; i++) {
        char *text = harness_slurp(files[i], 64 << 20), *rest;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            size_t k = 0, len = strcspn(line, "\t");
            while (k < COUNT(tables) &&
                   (strlen(tables[k]) != len || memcmp(line, tables[k], len) != 0))
                k++;
            if (k == COUNT(tables) || line[len] != '\t')
                harness_fail("a client wrote: %s", line);
            buf_printf(&rows[k], "%s\n", line + len + 1);
        }
        free(text);
    }
    for (size_t k = 0; k < COUNT(tables); k++) {
        history_copy(s, tables[k], &rows[k]);
        buf_release(&rows[k]);
    }
}

/* What was in Redis alone went with it: an answer before the last FLUSHALL that reached the crawls
 * promises nothing. */
#define PROMISED                                                                                   \
    "p.status IN (200, 202) AND p.begun > coalesce((SELECT max(at) FROM chaos.flushes), 0)"
#define LOADED "EXISTS (SELECT FROM chaos.crawl_posts)"
#define ENDED  "kind IN ('completed', 'failed', 'cancelled')"

/* clang-format off */
const struct check crawl_checks[] = {
    {"an acknowledged event of a crawl without a row",
     "SELECT DISTINCT p.event_id || ' ' || e.kind || ' of ' || e.crawl_id FROM chaos.crawl_posts p"
        " JOIN chaos.crawl_events e USING (event_id) WHERE " PROMISED
        " AND NOT EXISTS (SELECT FROM webhook.crawl_events c WHERE c.event_id = p.event_id)",
     IS_LOST, false},
    {"an answer to Firecrawl that nobody foresaw",
     "SELECT p.event_id || ' ' || e.kind || ' ' || p.status FROM chaos.crawl_posts p"
        " JOIN chaos.crawl_events e USING (event_id) WHERE p.status NOT IN (0, 503)"
        " AND p.status <> CASE e.kind WHEN 'page' THEN 202 ELSE 200 END"
        " AND NOT (p.status = 409 AND EXISTS (SELECT FROM chaos.crawl_posts t"
        "   WHERE t.event_id = p.event_id AND t.twin))",
     JUST_A_VIOLATION, false},
    {"an event of a crawl that nobody posted so",
     "SELECT c.event_id || ' ' || c.type || ' of ' || coalesce(c.crawl_id, '-')"
        " FROM webhook.crawl_events c WHERE " LOADED " AND NOT EXISTS (SELECT"
        "   FROM chaos.crawl_events e JOIN chaos.crawl_posts p USING (event_id)"
        "   WHERE e.event_id = c.event_id AND e.crawl_id = c.crawl_id AND e.kind = c.kind"
        "     AND e.family || '.' || e.kind = c.type AND c.success = (e.kind <> 'failed')"
        "     AND c.documents = (SELECT count(*) FROM chaos.crawl_pages g"
        "       WHERE g.event_id = e.event_id))",
     IS_DOUBLED, false},
    {"a page without a row",
     "SELECT c.crawl_id || ' ' || g.url FROM webhook.crawl_events c"
        " JOIN chaos.crawl_pages g USING (event_id) WHERE NOT EXISTS (SELECT"
        "   FROM webhook.crawl_pages w WHERE w.crawl_id = c.crawl_id AND w.url = g.url)",
     IS_LOST, false},
    {"a page that no event brought so",
     "SELECT w.crawl_id || ' ' || w.url || ' ' || w.status_code || ' ' || coalesce(w.error, '-')"
        " FROM webhook.crawl_pages w WHERE " LOADED " AND NOT EXISTS (SELECT"
        "   FROM chaos.crawl_pages g JOIN webhook.crawl_events c USING (event_id)"
        "   WHERE g.event_id = w.event_id AND c.crawl_id = w.crawl_id AND g.url = w.url"
        "     AND g.code = w.status_code AND g.indexed = w.indexed)",
     JUST_A_VIOLATION, false},
    {"a session that is not the sum of its events",
     "SELECT s.job_id || ' ' || s.status || ' ' || s.total_pages || ' = ' || s.pages_indexed"
        "   || ' + ' || s.pages_failed || ', not ' || x.status || ' ' || x.pages || ' = '"
        "   || x.indexed || ' + ' || x.pages - x.indexed"
        " FROM webhook.crawl_sessions s CROSS JOIN LATERAL (SELECT"
        "   CASE WHEN bool_or(kind = 'failed') THEN 'failed'"
        "     WHEN bool_or(kind = 'cancelled') THEN 'cancelled'"
        "     WHEN bool_or(kind = 'completed') THEN 'completed' ELSE 'in_progress' END AS status,"
        "   min(received_at) AS started_at, min(received_at) FILTER (WHERE " ENDED ") AS ended_at,"
        "   CASE split_part(min(type), '.', 1) WHEN 'crawl' THEN 'crawl' ELSE 'scrape_batch' END"
        "     AS operation, max(base_url) AS base_url,"
        "   (SELECT count(*) FROM webhook.crawl_pages g WHERE g.crawl_id = s.job_id) AS pages,"
        "   (SELECT count(*) FROM webhook.crawl_pages g WHERE g.crawl_id = s.job_id"
        "     AND g.indexed) AS indexed"
        "   FROM webhook.crawl_events e WHERE e.crawl_id = s.job_id) x"
        " WHERE (s.status, s.started_at, s.operation_type, s.total_pages, s.pages_indexed,"
        "   s.pages_failed, s.completed_at, s.base_url) IS DISTINCT FROM (x.status, x.started_at,"
        "   x.operation, x.pages, x.indexed, x.pages - x.indexed, x.ended_at, x.base_url)",
     JUST_A_VIOLATION, false},
    {"an event of a crawl without a session",
     "SELECT c.crawl_id || ' ' || c.type FROM webhook.crawl_events c WHERE NOT EXISTS (SELECT"
        " FROM webhook.crawl_sessions s WHERE s.job_id = c.crawl_id)",
     IS_LOST, false},
    {"a content kept twice",
     "SELECT crawl_session_id || ' ' || url FROM webhook.scraped_content"
        " GROUP BY crawl_session_id, url, content_hash HAVING count(*) > 1",
     IS_DOUBLED, false},
    {"an indexed page without its content",
     "SELECT w.crawl_id || ' ' || w.url FROM webhook.crawl_pages w WHERE w.indexed"
        " AND NOT EXISTS (SELECT FROM webhook.scraped_content s"
        "   WHERE s.crawl_session_id = w.crawl_id AND s.url = w.url)",
     IS_LOST, false},
    {"an indexed page that cannot be found",
     "SELECT w.crawl_id || ' ' || w.url FROM webhook.crawl_pages w WHERE w.indexed"
        " AND NOT EXISTS (SELECT FROM webhook.documents d WHERE d.canonical_url = w.url)",
     IS_LOST, false},
    {"a crawled text over a newer one, or one that counts as a scrape",
     "SELECT url || ' ' || old_at || ' -> ' || at || ', ' || old_seq || ' -> ' || seq"
        " FROM chaos.crawled WHERE at < old_at OR seq <> old_seq",
     JUST_A_VIOLATION, false},
    {NULL, NULL, JUST_A_VIOLATION, false},
};
/* clang-format on */
