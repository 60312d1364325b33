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
    *d = (struct sent){
        .c = {.event_id = id_of(nsent + 1),
              .crawl_id = crawl,
              .type = type,
              .family = harness_hold(mem_strndup(type, strcspn(type, "."))),
              .kind = kind,
              .received_at = T0_US + at,
              .success = true,
              .pages = d->pages}
    };
    nsent++;
    return d;
}

static void add_page(struct sent *d, const char *url, int status, const char *body)
{
    struct store_crawl_page *p = &d->pages[d->c.npages++];
    bool failed = status >= 400;
    d->c.documents = (int64_t)d->c.npages;
    *p = (struct store_crawl_page){
        .url = url,
        .scrape_id = text("scrape-%d", nsent),
        .status_code = status,
        .error = failed ? "HTTP 404" : NULL,
        .markdown = body,
        .metadata = "{\"title\": null}",
        .doc = {.canonical_url = url, .url = url, .title = "Page", .text = failed ? NULL : body}
    };
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
    sql_exec(bench_url(), "TRUNCATE webhook.crawl_events, webhook.crawl_pages, webhook.documents,"
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
    for (int i = 0; i < MAX_SENT; i++)
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
    cr_expect_str_eq(
        cell(CRAWL, "total_urls || ' ' || completed_urls || ' ' || failed_urls"), "41 35 6");
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

/* Both orders of a few deliveries, and all else alike. */
static void same_in_reverse(struct store *s)
{
    in_order(s);
    const char *expected = remains();
    forget();
    for (int i = nsent; i-- > 0;) {
        send_one(s, &sent[i]);
        BENCH_UNTIL(sent[i].got.calls);
    }
    all_ok();
    cr_expect_str_eq(remains(), expected);
}

Test(store_crawl, a_crawl_whose_start_was_lost_has_a_session)
{
    struct store *s = bench_store(NULL);
    page_event(1, "# One", 7 * SEC)->c.base_url = "https://told.example.com/";
    page_event(2, "# Two", 3 * SEC);
    same_in_reverse(s);
    cr_expect_str_eq(cell(CRAWL, "status"), "in_progress");
    cr_expect_str_eq(cell(CRAWL, "base_url"), "https://told.example.com/");
    cr_expect_str_eq(cell(CRAWL, "total_pages"), "2");
    cr_expect_str_eq(cell(CRAWL, "completed_at IS NULL AND success IS NULL"), "true");
    cr_expect_str_eq(cell(CRAWL, "extract(epoch FROM started_at)::bigint - 1767323045"), "3");
}

Test(store_crawl, nothing_known_of_its_site_is_unknown)
{
    struct store *s = bench_store(NULL);
    add(CRAWL, "crawl.completed", CRAWL_COMPLETED, 0);
    same_in_reverse(s);
    cr_expect_str_eq(cell(CRAWL, "base_url || status || total_urls"), "unknowncompleted0");
}

static const struct {
    const char *what;
    struct {
        const char *type;
        enum crawl_kind kind;
        bool success;
    } events[3];
    const char *status, *success;
} ends[] = {
    {"completed",                 {{"crawl.completed", CRAWL_COMPLETED, true}},                "completed",   "true" },
    {"completed without success", {{"crawl.completed", CRAWL_COMPLETED, false}},               "failed",      "false"},
    {"failed",                    {{"extract.failed", CRAWL_FAILED, false}},                   "failed",      "false"},
    {"cancelled",                 {{"crawl.cancelled", CRAWL_CANCELLED, false}},               "cancelled",   "false"},
    {"cancelled, then completed",
     {{"crawl.cancelled", CRAWL_CANCELLED, true}, {"crawl.completed", CRAWL_COMPLETED, true}},
     "cancelled",                                                                                             "true" },
    {"all of them",
     {{"crawl.completed", CRAWL_COMPLETED, true}, {"crawl.cancelled", CRAWL_CANCELLED, true},
            {"crawl.failed", CRAWL_FAILED, true}},
     "failed",                                                                                                "false"},
    {"another kind",              {{"crawl.paused", CRAWL_OTHER, false}},                      "in_progress", ""     },
};

Test(store_crawl, the_worst_end_counts_whichever_came_first)
{
    struct store *s = bench_store(NULL);
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        nsent = 0;
        forget();
        for (int k = 0; k < 3 && ends[i].events[k].type; k++) {
            struct sent *d = add(CRAWL, ends[i].events[k].type, ends[i].events[k].kind, k * SEC);
            d->c.success = ends[i].events[k].success;
            d->c.error = d->c.success ? NULL : "it went wrong";
        }
        same_in_reverse(s);
        cr_expect_str_eq(cell(CRAWL, "status"), ends[i].status, "%s", ends[i].what);
        cr_expect_str_eq(cell(CRAWL, "success"), ends[i].success, "%s", ends[i].what);
        if (strcmp(ends[i].success, "false") == 0 && !sent[nsent - 1].c.success)
            cr_expect_str_eq(cell(CRAWL, "error_message"), "it went wrong", "%s", ends[i].what);
    }
}

Test(store_crawl, batches_and_extracts_have_sessions_too)
{
    struct store *s = bench_store(NULL);
    struct sent *d = add("batch-1", "batch_scrape.page", CRAWL_PAGE, SEC);
    add_page(d, "https://a.example.com/", 200, "# A");
    add("batch-1", "batch_scrape.completed", CRAWL_COMPLETED, 2 * SEC);
    d = add("extract-1", "extract.started", CRAWL_STARTED, 0);
    d->c.metadata = "{\"k\": \"v\"}";
    d = add("agent-1", "agent.page", CRAWL_PAGE, 0);
    add_page(d, "https://b.example.com/", 200, "# B");
    same_in_reverse(s);
    cr_expect_str_eq(cell("batch-1", "operation_type || ' ' || status"), "scrape_batch completed");
    cr_expect_str_eq(cell("extract-1", "operation_type || (extra_metadata->>'k')"), "extractv");
    cr_expect_str_eq(cell("agent-1", "operation_type"), "agent");
    cr_expect_eq(
        bench_count("webhook.scraped_content WHERE content_source = 'firecrawl_batch'"), 1);
    cr_expect_eq(
        bench_count("webhook.scraped_content WHERE content_source = 'firecrawl_agent'"), 1);
}

Test(store_crawl, an_event_of_no_crawl_is_recorded_only)
{
    struct store *s = bench_store(NULL);
    struct sent *d = add(NULL, "crawl.page", CRAWL_PAGE, 0);
    d->c.success = false;
    d->c.error = "something";
    add_page(d, "https://a.example.com/", 200, "# A");
    add_again(d, 0);
    same_in_reverse(s);
    cr_expect_eq(bench_count("webhook.crawl_events WHERE crawl_id IS NULL AND NOT success"
                             " AND error = 'something'"),
        1);
    cr_expect_eq(bench_count("webhook.crawl_sessions"), 0);
    cr_expect_eq(bench_count("webhook.documents"), 0);
}

Test(store_crawl, a_session_that_was_there_keeps_what_events_do_not_tell)
{
    struct store *s = bench_store(NULL);
    sql_exec(bench_url(),
        "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, status,"
        "  operation_type, extra_metadata, initiated_at, auto_index)"
        " VALUES (gen_random_uuid(), '" CRAWL "', 'https://asked.example.com/',"
        "  'epoch'::timestamptz + 1767323040 * interval '1 s', 'pending', 'crawl',"
        "  '{\"request\": {\"limit\": 3}}', 'epoch'::timestamptz + 1767323039 * interval '1 s',"
        "  false)");
    const char *id = cell(CRAWL, "id");
    struct sent *d = add(CRAWL, "crawl.started", CRAWL_STARTED, 0);
    d->c.metadata = "{\"a\": 1}";
    page_event(1, "# One", SEC);
    in_order(s);
    cr_expect_str_eq(cell(CRAWL, "status || base_url"), "pendinghttps://asked.example.com/");
    cr_expect_str_eq(cell(CRAWL, "extra_metadata->'request'->>'limit'"), "3");
    add(CRAWL, "crawl.completed", CRAWL_COMPLETED, 5 * SEC);
    in_order(s);
    cr_expect_str_eq(cell(CRAWL, "status"), "completed");
    cr_expect_str_eq(cell(CRAWL, "duration_ms || ' ' || e2e_duration_ms"), "10000 11000");
    cr_expect_str_eq(cell(CRAWL, "auto_index"), "false");
    cr_expect_str_eq(cell(CRAWL, "id"), id);
}

Test(store_crawl, counters_of_the_replaced_service_outlive_a_late_event)
{
    struct store *s = bench_store(NULL);
    sql_exec(bench_url(),
        "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, status,"
        "  operation_type, total_pages, pages_indexed, total_bm25_ms, completed_at)"
        " VALUES (gen_random_uuid(), '" CRAWL "', 'https://a.example.com/', now(), 'completed',"
        "  'crawl', 30, 29, 12.5, now())");
    add(CRAWL, "crawl.started", CRAWL_STARTED, 0);
    in_order(s);
    cr_expect_str_eq(
        cell(CRAWL, "total_pages || ' ' || pages_indexed || ' ' || total_bm25_ms"), "30 29 12.5");
    cr_expect_str_eq(cell(CRAWL, "status"), "completed");
}

Test(store_crawl, a_repeated_event_says_so_and_changes_nothing)
{
    struct store *s = bench_store(NULL);
    struct sent *d = page_event(1, "# One", 0);
    in_order(s);
    cr_expect_not(d->c.known);
    cr_expect_eq(d->c.stored, 1);
    const char *at = cell(CRAWL, "updated_at");
    in_order(s);
    cr_expect(d->c.known);
    cr_expect_eq(d->c.stored, 0);
    cr_expect_str_eq(cell(CRAWL, "updated_at"), at);
}

Test(store_crawl, what_was_sent_counts_before_what_was_asked_for)
{
    struct store *s = bench_store(NULL);
    struct sent *d = page_event(1, "# One", 10 * SEC);
    add_again(d, -5 * SEC);
    sent[1].c.reconciled = true;
    sent[1].c.metadata = NULL;
    same_in_reverse(s);
    cr_expect_str_eq(sql_text(bench_url(), "SELECT reconciled || (metadata->>'watch') ||"
                                           " extract(epoch FROM received_at)::bigint - 1767323045"
                                           " FROM webhook.crawl_events"),
        "falsew5");
}

Test(store_crawl, a_refused_value_fails_its_own_event_only)
{
    struct store *s = bench_store(NULL);
    for (int i = 0; i < 20; i++)
        page_event(i, "# Fine", i * SEC);
    sent[7].pages[0].metadata = "{\"title\": \"\\u0000\"}";
    for (int i = 0; i < nsent; i++)
        send_one(s, &sent[i]);
    BENCH_UNTIL(answered());
    for (int i = 0; i < nsent; i++)
        cr_expect_eq(sent[i].got.rc, i == 7 ? HL_FATAL : HL_OK, "%d", i);
    cr_expect_eq(bench_count("webhook.crawl_events"), 19);
    cr_expect_str_eq(cell(CRAWL, "total_pages"), "19");
}

Test(store_crawl, a_url_beyond_an_index_loses_its_content_only)
{
    static char url[6000];
    struct store *s = bench_store(NULL);
    unsigned seed = 1;
    snprintf(url, sizeof(url), "https://a.example.com/");
    for (size_t i = strlen(url); i < sizeof(url) - 1; i++)
        url[i] = (char)('a' + rand_r(&seed) % 26);
    struct sent *d = add(CRAWL, "crawl.page", CRAWL_PAGE, 0);
    add_page(d, url, 200, "# Far away");
    in_order(s);
    cr_expect_str_eq(cell(CRAWL, "pages_indexed"), "1");
    cr_expect_eq(bench_count("webhook.documents"), 1);
    cr_expect_eq(bench_count("webhook.scraped_content"), 0);
}

/* Where the replaced service made its tables from its models. */
Test(store_crawl, contents_are_stored_once_without_the_constraint_too)
{
    struct store *stores[STORES] = {bench_store(NULL), bench_store(NULL), bench_store(NULL)};
    unsigned seed = a_seed();
    sql_exec(bench_url(),
        "ALTER TABLE webhook.scraped_content DROP CONSTRAINT uq_content_per_session_url");
    a_crawl();
    in_order(stores[0]);
    const char *expected = remains();
    forget();
    shuffled(stores, STORES, &seed);
    cr_expect_str_eq(remains(), expected);
}

Test(store_crawl, crawls_that_share_pages_do_not_deadlock)
{
    struct store *stores[2] = {bench_store(NULL), bench_store(NULL)};
    for (int i = 0; i < 120; i++) {
        struct sent *d = add(text("crawl-%d", i * 7 % 5), "crawl.page", CRAWL_PAGE, i * SEC);
        add_page(d, text("https://shop.example.com/%d", i * 11 % 10), 200, text("# %d", i));
    }
    sql_exec(bench_url(), "SELECT pg_stat_reset()");
    for (int round = 0; round < 5; round++) {
        unsigned seed = (unsigned)round;
        shuffled(stores, 2, &seed);
        forget();
    }
    cr_expect_eq(sql_int(bench_url(), "SELECT deadlocks FROM pg_stat_database"
                                      " WHERE datname = current_database()"),
        0);
}

Test(store_crawl, a_page_replaces_an_older_text_and_no_newer_one)
{
    static const char url[] = "https://shop.example.com/p/1";
    struct store *s = bench_store("worker-1");
    struct change_event *ev = bench_event(url);
    page_event(1, "# From the crawl", 0);
    in_order(s);
    int64_t epoch = bench_begin(s, ev);
    cr_assert_eq(
        bench_complete(s, ev, epoch, bench_document(url, "t", "# Rescraped"), NULL), HL_OK);
    const char *seq = sql_text(bench_url(), "SELECT scrape_seq FROM webhook.documents");
    page_event(1, "# An older page", 10 * SEC);
    in_order(s);
    cr_expect_eq(bench_count("webhook.documents WHERE text = '# Rescraped' AND scrape_seq > 0"), 1);
    page_event(1, "# A newer page", INT64_C(3000000000) * SEC);
    in_order(s);
    cr_expect_eq(bench_count("webhook.documents WHERE text = '# A newer page'"
                             " AND changed_at = scraped_at AND claim_epoch IS NULL"),
        1);
    cr_expect_str_eq(sql_text(bench_url(), "SELECT scrape_seq FROM webhook.documents"), seq);
    struct change_event *again = bench_event(url);
    epoch = bench_begin(s, again);
    cr_assert_eq(
        bench_complete(s, again, epoch, bench_document(url, "t", "# Rescraped again"), NULL),
        HL_OK);
    cr_expect_eq(bench_count("webhook.documents WHERE text = '# Rescraped again'"), 1);
}

/* It was fetched at some time since the crawl began. */
Test(store_crawl, a_page_asked_for_replaces_no_text_of_after_the_start)
{
    static const char url[] = "https://shop.example.com/p/1";
    struct store *s = bench_store("worker-1");
    struct change_event *ev = bench_event(url);
    add(CRAWL, "crawl.started", CRAWL_STARTED, 0);
    in_order(s);
    int64_t epoch = bench_begin(s, ev);
    cr_assert_eq(
        bench_complete(s, ev, epoch, bench_document(url, "t", "# Rescraped"), NULL), HL_OK);
    int64_t later = INT64_C(3000000000) * SEC;
    page_event(1, "# Lost", later)->c.reconciled = true;
    page_event(2, "# Lost too", later)->c.reconciled = true;
    in_order(s);
    cr_expect_eq(bench_count("webhook.documents WHERE text = '# Rescraped'"), 1);
    cr_expect_eq(bench_count("webhook.documents WHERE text = '# Lost too'"), 1);
    sql_exec(bench_url(), "UPDATE webhook.documents SET scraped_at = '2020-01-01'");
    page_event(1, "# Lost", later)->c.reconciled = true;
    in_order(s);
    cr_expect_eq(bench_count("webhook.documents WHERE text = '# Lost'"), 1);
}

Test(store_crawl, a_page_without_any_content_is_counted_only)
{
    struct store *s = bench_store(NULL);
    page_event(1, NULL, 0)->pages[0].error = "no text";
    in_order(s);
    cr_expect_str_eq(cell(CRAWL, "total_pages || ' ' || pages_failed"), "1 1");
    cr_expect_eq(bench_count("webhook.scraped_content"), 0);
    cr_expect_eq(bench_count("webhook.documents"), 0);
}

Test(store_crawl, the_same_text_again_has_not_changed)
{
    struct store *s = bench_store(NULL);
    page_event(1, "# Same", 0);
    page_event(1, "# Same", 5 * SEC);
    in_order(s);
    cr_expect_eq(
        bench_count("webhook.documents WHERE scraped_at = changed_at + interval '5 s'"), 1);
    cr_expect_eq(bench_count("webhook.scraped_content"), 1);
}

Test(store_crawl, ten_thousand_pages_are_summed_up_in_milliseconds)
{
    struct store *s = bench_store(NULL);
    sql_exec(bench_url(),
        "INSERT INTO webhook.crawl_events (event_id, crawl_id, type, kind, received_at, success,"
        "  metadata) SELECT gen_random_uuid(), '" CRAWL "', 'crawl.page', 'page', now(), true,"
        "  '{\"watch\": \"w\"}' FROM generate_series(1, 10000);"
        "INSERT INTO webhook.crawl_pages (crawl_id, url_key, url, indexed, event_id, received_at)"
        "  SELECT '" CRAWL "', sha256(i::text::bytea), i, true, gen_random_uuid(), now()"
        "  FROM generate_series(1, 10000) i;"
        "ANALYZE webhook.crawl_events, webhook.crawl_pages");
    for (int i = 0; i < 21; i++)
        page_event(i, "# One more", i * SEC);
    int64_t best = INT64_MAX;
    for (int i = 0; i < nsent; i++) {
        int64_t began = harness_now_ms();
        send_one(s, &sent[i]);
        while (!sent[i].got.calls)
            bench_turn(began + 20000, "an answer", __FILE__, __LINE__);
        int64_t took = harness_now_ms() - began;
        best = took < best ? took : best;
    }
    all_ok();
    cr_log_info("a page beside ten thousand: %lld ms", (long long)best);
    cr_expect_leq(best, 100);
    cr_expect_str_eq(cell(CRAWL, "total_pages"), "10021");
}

/* --- asking Firecrawl, retention --------------------------------------------------------- */

static void set_session(const char *crawl, const char *assignments)
{
    sql_exec(bench_url(), "UPDATE webhook.crawl_sessions SET %s WHERE job_id = '%s'", assignments,
        crawl);
}

static int64_t now_us(void)
{
    return (int64_t)time(NULL) * SEC - T0_US;
}

Test(store_crawl, an_ended_session_is_asked_about_by_one_only)
{
    struct store *s = bench_store(NULL), *other = bench_store(NULL);
    struct bench_rows r;
    add(CRAWL, "crawl.completed", CRAWL_COMPLETED, now_us());
    in_order(s);
    BENCH_ASK(r, store_crawl_due(s, 600000, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "1");
    BENCH_ASK(r, store_crawl_take(s, 60000, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "asked too soon");
    set_session(CRAWL, "reconcile_at = now()");
    BENCH_ASK(r, store_crawl_take(s, 60000, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, 0), CRAWL);
    cr_expect_str_eq(bench_cell(&r, 0, 1), "crawl");
    cr_expect_str_eq(bench_cell(&r, 0, 2), "completed");
    cr_expect_str_eq(bench_cell(&r, 0, 3), "1");
    BENCH_ASK(r, store_crawl_take(other, 60000, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "two ask at once");
    BENCH_ASK(r, store_crawl_asked(s, CRAWL, 7, -1, BENCH_CB(r)));
    cr_expect_str_eq(cell(CRAWL, "reported_urls || ' ' || total_urls"), "7 7");
    BENCH_ASK(r, store_crawl_due(s, 0, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "0", "its last word was said");
}

Test(store_crawl, an_open_session_is_asked_about_when_it_is_silent)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    add(CRAWL, "crawl.started", CRAWL_STARTED, now_us());
    add("extract-1", "extract.started", CRAWL_STARTED, now_us());
    in_order(s);
    BENCH_ASK(r, store_crawl_due(s, 600000, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "0");
    sql_exec(bench_url(), "UPDATE webhook.crawl_sessions SET updated_at = now() - interval '11 m'");
    BENCH_ASK(r, store_crawl_due(s, 600000, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "1", "nobody can be asked about an extract");
    BENCH_ASK(r, store_crawl_take(s, 60000, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    BENCH_ASK(r, store_crawl_asked(s, CRAWL, 3, 600000, BENCH_CB(r)));
    cr_expect_str_eq(cell(CRAWL, "reconcile_at > now() + interval '9 m'"), "true");
    add(CRAWL, "crawl.completed", CRAWL_COMPLETED, now_us());
    in_order(s);
    cr_expect_str_eq(cell(CRAWL, "reconcile_at BETWEEN now() + interval '20 s'"
                                 " AND now() + interval '31 s' AND reconcile_tries = 0"),
        "true", "an end is looked at soon");
}

Test(store_crawl, pages_are_missing_that_neither_address_nor_fetch_tells_of)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    page_event(1, "# One", 0);
    page_event(2, "# Two", 0);
    in_order(s);
    BENCH_ASK(r, store_crawl_missing(s, CRAWL, "{scrape-1,other,scrape-2,new,NULL}",
                     "{https://shop.example.com/p/1,https://shop.example.com/p/2,"
                     "https://elsewhere.example.com/,https://shop.example.com/p/3,"
                     "https://shop.example.com/p/4}",
                     BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 2);
    cr_expect_str_eq(bench_cell(&r, 0, 0), "4");
    cr_expect_str_eq(bench_cell(&r, 1, 0), "5");
}

Test(store_crawl, behind_a_fence_nobody_is_asked_and_nothing_is_filled_in)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    add(CRAWL, "crawl.completed", CRAWL_COMPLETED, now_us());
    in_order(s);
    set_session(CRAWL, "reconcile_at = now()");
    sql_exec(bench_url(), "UPDATE webhook.queues SET fenced_at = now() WHERE name = 'crawl'");
    BENCH_ASK(r, store_crawl_take(s, 60000, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0);
    BENCH_ASK(r, store_crawl_missing(s, CRAWL, "{new}", "{https://a/}", BENCH_CB(r)));
    cr_assert_geq(bench_nrows(&r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, 0), "0");
    BENCH_ASK(r, store_crawl_missing(s, CRAWL, "{}", "{}", BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 1);
    sql_exec(bench_url(), "UPDATE webhook.queues SET fenced_at = NULL WHERE name = 'crawl'");
    BENCH_ASK(r, store_crawl_take(s, 60000, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 1);
}

Test(store_crawl, retention_takes_ended_crawls_with_all_that_is_theirs)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    page_event(1, "# One", 0);
    add(CRAWL, "crawl.completed", CRAWL_COMPLETED, SEC);
    struct sent *d = add("crawl-2", "crawl.page", CRAWL_PAGE, 0);
    add_page(d, "https://b.example.com/", 200, "# B");
    add(NULL, "crawl.page", CRAWL_PAGE, 0);
    in_order(s);
    BENCH_ASK(r, store_prune_crawls(s, 1, 100, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "1", "the event of no crawl; the session has changed");
    set_session(CRAWL, "updated_at = now() - interval '2 days'");
    BENCH_ASK(r, store_prune_crawls(s, 1, 100, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "1");
    cr_expect_eq(bench_count("webhook.crawl_sessions"), 1);
    cr_expect_eq(bench_count("webhook.crawl_events"), 1);
    cr_expect_eq(bench_count("webhook.crawl_pages"), 1);
    cr_expect_eq(bench_count("webhook.scraped_content"), 1);
    cr_expect_eq(bench_count("webhook.documents"), 2, "texts have a retention of their own");
}
