/* store, crawls: whatever the order in which the events of a crawl come, how often, over how many
 * connections and in what company, the same rows remain. Against a real PostgreSQL. */
#include "domain/store_crawl.h"

#include "base/mem.h"
#include "tests/support/harness.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

TestSuite(store_crawl, .init = bench_start, .fini = bench_stop, .timeout = 240);

#define T0_US INT64_C(1767323045000000)
#define SEC   INT64_C(1000000)
#define CRAWL "crawl-1"

enum { PAGES = 40, MAX_SENT = 256, STORES = 3, ROUNDS = 12 };

static const char *text(const char *fmt, int i)
{
    char out[200];
    snprintf(out, sizeof(out), fmt, i);
    return harness_hold(mem_strdup(out));
}

/* --- deliveries -------------------------------------------------------------------------- */

static struct uuid id_of(int n)
{
    struct uuid id;
    cr_assert(uuid_parse(text("00000000-0000-7000-8000-%012d", n), &id));
    return id;
}

struct sent {
    struct store_crawl c;
    struct store_crawl_page pages[2];
    struct bench_got got;
};

static struct sent sent[MAX_SENT];
static int nsent;

static struct sent *add(const char *crawl, const char *type, enum crawl_kind kind, int64_t at)
{
    cr_assert_lt(nsent, MAX_SENT);
    struct sent *d = &sent[nsent];
    *d = (struct sent){.c = {.event_id = id_of(nsent + 1),
                           .crawl_id = crawl,
                           .type = type,
                           .family = harness_hold(mem_strndup(type, strcspn(type, "."))),
                           .kind = kind,
                           .received_at = T0_US + at,
                           .success = true,
                           .pages = d->pages}};
    nsent++;
    return d;
}

static void add_page(struct sent *d, const char *url, int status, const char *body)
{
    struct store_crawl_page *p = &d->pages[d->c.npages++];
    bool failed = status >= 400;
    d->c.documents = (int64_t)d->c.npages;
    *p = (struct store_crawl_page){.url = url,
        .scrape_id = text("scrape-%d", nsent),
        .status_code = status,
        .error = failed ? "HTTP 404" : NULL,
        .markdown = body,
        .metadata = "{\"title\": null}",
        .doc = {.canonical_url = url, .url = url, .title = "Page", .text = failed ? NULL : body}};
}

/* The same delivery once more, a moment later. */
static void add_again(const struct sent *d, int64_t later)
{
    struct sent *copy = &sent[nsent++];
    cr_assert_leq(nsent, MAX_SENT);
    *copy = *d;
    copy->c.pages = copy->pages;
    copy->c.received_at += later;
}

static struct sent *page_event(int i, const char *body, int64_t at)
{
    struct sent *d = add(CRAWL, "crawl.page", CRAWL_PAGE, at);
    d->c.metadata = "{\"watch\": \"w\"}";
    add_page(d, text("https://shop.example.com/p/%d", i), i % 7 == 3 ? 404 : 200, body);
    if (i % 4)
        d->pages[0].source_url = d->pages[0].url;
    return d;
}

/* started, pages (404s, new versions, two at one moment, two in one event), completed; some twice */
static void a_crawl(void)
{
    nsent = 0;
    struct sent *d = add(CRAWL, "crawl.started", CRAWL_STARTED, 0);
    d->c.metadata = "{\"url\": \"https://shop.example.com/\", \"initiated_at\": \"then\"}";
    d->c.base_url = "https://shop.example.com/";
    d->c.initiated_at = T0_US - 5 * SEC;
    for (int i = 0; i < PAGES; i++) {
        page_event(i, text("# Page %d\n\nfirst words", i), (i + 1) * SEC);
        if (i % 5 == 0)
            page_event(i, text("# Page %d\n\nsecond thoughts", i), (i + 3) * SEC);
        if (i % 10 == 1)
            page_event(i, text("# Page %d\n\nat the same moment", i), (i + 1) * SEC);
    }
    d = add(CRAWL, "crawl.page", CRAWL_PAGE, 50 * SEC);
    add_page(d, "https://shop.example.com/twin", 200, "# One of two");
    add_page(d, "https://shop.example.com/twin", 200, "# The other of two");
    add(CRAWL, "crawl.completed", CRAWL_COMPLETED, 60 * SEC);
    for (int i = 0, n = nsent; i < n; i += 3)
        add_again(&sent[i], i % 2 * 20 * SEC);
}

/* --- what remains ------------------------------------------------------------------------ */

static const char *remains(void)
{
    return sql_text(bench_url(),
        "SELECT concat_ws(E'\\n--\\n',"
        "(SELECT string_agg((to_jsonb(t) - 'id' - 'created_at' - 'updated_at' - 'total_bm25_ms')"
        "   ::text, E'\\n' ORDER BY job_id) FROM webhook.crawl_sessions t),"
        "(SELECT string_agg(to_jsonb(t)::text, E'\\n' ORDER BY event_id)"
        "   FROM webhook.crawl_events t),"
        "(SELECT string_agg((to_jsonb(t) - 'bm25_ms')::text, E'\\n' ORDER BY crawl_id, url_key)"
        "   FROM webhook.crawl_pages t),"
        "(SELECT string_agg(concat_ws('|', crawl_session_id, url, content_hash, content_source,"
        "   markdown, links), E'\\n' ORDER BY crawl_session_id, url, content_hash)"
        "   FROM webhook.scraped_content),"
        "(SELECT string_agg((to_jsonb(t) - 'created_at' - 'changed_at')::text, E'\\n'"
        "   ORDER BY url_key) FROM webhook.documents t))");
}

static const char *cell(const char *crawl, const char *expression)
{
    return sql_text(bench_url(),
        "SELECT (%s)::text FROM webhook.crawl_sessions WHERE job_id = '%s'", expression, crawl);
}

static void forget(void)
{
    sql_exec(bench_url(),
        "TRUNCATE webhook.crawl_events, webhook.crawl_pages, webhook.documents,"
        " webhook.scraped_content, webhook.crawl_sessions");
}

/* --- sending ----------------------------------------------------------------------------- */

static void send_one(struct store *s, struct sent *d)
{
    d->got = (struct bench_got){0};
    d->c.req = (struct store_req)BENCH_REQ(&d->got);
    store_crawl(s, &d->c);
}

static bool answered(void)
{
    for (int i = 0; i < nsent; i++)
        if (!sent[i].got.calls)
            return false;
    return true;
}

static void all_ok(void)
{
    for (int i = 0; i < nsent; i++)
        cr_assert_eq(sent[i].got.rc, HL_OK, "%d: %s", i, sent[i].got.err.msg);
}

static void in_order(struct store *s)
{
    for (int i = 0; i < nsent; i++) {
        send_one(s, &sent[i]);
        BENCH_UNTIL(sent[i].got.calls);
    }
    all_ok();
}

static void shuffled(struct store *const *stores, int n, unsigned *seed)
{
    int order[MAX_SENT];
    for (int i = 0; i < nsent; i++)
        order[i] = i;
    for (int i = nsent - 1; i > 0; i--) {
        int k = (int)((unsigned)rand_r(seed) % (unsigned)(i + 1)), keep = order[i];
        order[i] = order[k];
        order[k] = keep;
    }
    for (int i = 0; i < nsent; i++)
        sent[i].got = (struct bench_got){0};
    for (int i = 0; i < nsent; i++) {
        send_one(stores[rand_r(seed) % n], &sent[order[i]]);
        if (rand_r(seed) % 8 == 0)
            bench_turn(harness_now_ms() + 20000, "a turn", __FILE__, __LINE__);
    }
    BENCH_UNTIL(answered());
    all_ok();
}

static unsigned a_seed(void)
{
    const char *given = getenv("CRAWL_SEED");
    unsigned seed = given ? (unsigned)atol(given) : (unsigned)time(NULL);
    cr_log_info("CRAWL_SEED=%u", seed);
    return seed;
}

/* --- the tests --------------------------------------------------------------------------- */

Test(store_crawl, a_crawl_in_order_leaves_what_it_should)
{
    struct store *s = bench_store(NULL);
    a_crawl();
    in_order(s);
    cr_expect_str_eq(cell(CRAWL, "status"), "completed");
    cr_expect_str_eq(cell(CRAWL, "success"), "true");
    cr_expect_str_eq(cell(CRAWL, "base_url"), "https://shop.example.com/");
    cr_expect_str_eq(cell(CRAWL, "operation_type"), "crawl");
    cr_expect_str_eq(cell(CRAWL, "total_pages"), "41");
    cr_expect_str_eq(cell(CRAWL, "pages_failed"), "6");
    cr_expect_str_eq(cell(CRAWL, "pages_indexed"), "35");
    cr_expect_str_eq(cell(CRAWL, "total_urls || ' ' || completed_urls || ' ' || failed_urls"),
        "41 35 6");
    cr_expect_str_eq(cell(CRAWL, "duration_ms"), "60000");
    cr_expect_str_eq(cell(CRAWL, "e2e_duration_ms"), "65000");
    cr_expect_str_eq(cell(CRAWL, "total_bm25_ms > 0"), "true");
    cr_expect_str_eq(cell(CRAWL, "extra_metadata->>'initiated_at'"), "then");
    cr_expect_eq(bench_count("webhook.crawl_pages"), 41);
    cr_expect_eq(bench_count("webhook.documents"), 35);
    cr_expect_eq(bench_count("webhook.documents WHERE scrape_seq = 0 AND claim_epoch IS NULL"
                             " AND search @@ 'page'::tsquery"),
        35);
    cr_expect_eq(bench_count("webhook.scraped_content"), PAGES + 8 + 4 + 2);
    cr_expect_eq(bench_count("webhook.scraped_content WHERE content_hash ="
                             " encode(sha256(convert_to(markdown, 'UTF8')), 'hex')"
                             " AND content_source = 'firecrawl_crawl' AND links = 'null'"),
        PAGES + 8 + 4 + 2);
    cr_expect_eq(bench_count("webhook.documents WHERE text = '# One of two'"), 1);
}

Test(store_crawl, every_order_of_delivery_leaves_the_same_rows)
{
    struct store *stores[STORES] = {bench_store(NULL), bench_store(NULL), bench_store(NULL)};
    unsigned seed = a_seed();
    a_crawl();
    in_order(stores[0]);
    const char *expected = remains();
    for (int round = 0; round < ROUNDS; round++) {
        forget();
        shuffled(stores, 1 + round % STORES, &seed);
        const char *got = remains();
        cr_assert_str_eq(got, expected, "round %d", round);
    }
    shuffled(stores, STORES, &seed); /* all of it again */
    cr_expect_str_eq(remains(), expected);
}
