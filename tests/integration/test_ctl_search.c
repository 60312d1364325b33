/* hooklinectl search: documents for people and as JSON. */
#include "tests/support/harness.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(ctl_search, .timeout = 60);

static const char *out; /* of the last command */

static int search(const char *url, const char *const *args)
{
    const char *argv[12] = {harness_text("%s/hooklinectl", harness_build()), "search"};
    const char *env[] = {harness_text("WEBHOOK_DATABASE_URL=%s", url), NULL};
    for (int i = 0; args[i]; i++)
        argv[i + 2] = args[i];
    struct test_proc *p = test_proc_start(argv, env, -1);
    int code = test_proc_wait(p, 20000);
    out = test_proc_log(p);
    return code;
}

#define SEARCH(...) search(url, (const char *const[]){__VA_ARGS__, NULL})

static void put_document(const char *url, const char *page, const char *title, const char *text)
{
    sql_exec(url,
        "INSERT INTO webhook.documents (url_key, canonical_url, url, title, text, content_hash,"
        "  search, event_id, claim_epoch, scrape_seq, scraped_at, changed_at)"
        " VALUES (sha256('%s'), '%s', '%s', '%s', '%s', sha256('%s'),"
        "  to_tsvector('simple', '%s'), gen_random_uuid(), 1, 1, '2026-01-02 03:04:05Z', now())",
        page, page, page, title, text, text, text);
}

Test(ctl_search, documents_come_best_first_in_one_object)
{
    const char *url = harness_database(true);
    put_document(url, "http://a/", "A", "one heron");
    put_document(url, "http://b/", "", "heron heron heron");
    cr_assert_eq(SEARCH("--json", "heron"), 0, "%s", out);
    struct hl_err err;
    json_t *root = json_parse(out, strlen(out), &err);
    cr_assert(root, "%s", out);
    cr_expect_eq(json_integer_value(json_object_get(root, "version")), 1);
    const json_t *list = json_object_get(root, "documents");
    cr_assert_eq(json_array_size(list), 2, "%s", out);
    const json_t *best = json_array_get(list, 0);
    cr_expect_str_eq(json_get_string(best, "url"), "http://b/");
    cr_expect(strstr(json_get_string(best, "snippet"), "«heron»"), "%s", out);
    cr_expect(json_is_number(json_object_get(best, "rank")), "%s", out);
    cr_expect_eq(strncmp(json_get_string(best, "scraped_at"), "2026-01-02T03:04:05", 19), 0);
    json_decref(root);

    cr_assert_eq(SEARCH("heron"), 0, "%s", out);
    cr_expect_eq(strncmp(out, "(no title)\n  http://b/\n  ", 25), 0, "%s", out);
    cr_expect(strstr(out, "\n\nA\n  http://a/\n"), "%s", out);
    cr_assert_eq(SEARCH("--limit", "1", "heron"), 0);
    cr_expect_not(strstr(out, "http://a/"), "%s", out);
}

Test(ctl_search, nothing_found_is_2_and_no_words_are_64)
{
    const char *url = harness_database(true);
    cr_expect_eq(SEARCH("heron"), 2);
    cr_expect(strstr(out, "no document holds these words"), "%s", out);
    cr_expect_eq(SEARCH("--json", "heron"), 2);
    cr_expect(strstr(out, "{\"version\":1,\"documents\":[]}"), "%s", out);
    cr_expect_eq(SEARCH("--json"), 64);
    cr_expect_eq(SEARCH("--limit", "1001", "heron"), 64);
}
