/* What is asked of Firecrawl, and what its answers mean. Answers are modelled on those of real
 * servers; texts are shortened. */
#include "base/json.h"
#include "base/mem.h"
#include "worker/scrape_kind.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define DATA(members) "{\"success\":true,\"data\":{" members "}}"

static struct scrape_result parse(long status, int64_t retry_after_ms, const char *body)
{
    struct scrape_result out = {.retry_after_ms = -1};
    firecrawl_parse(status, retry_after_ms, body, strlen(body), &out);
    return out;
}

static const char *or_none(const char *s)
{
    return s ? s : "(none)";
}

/* --- failures ---------------------------------------------------------------------------- */

static void check_failure(
    long status, const char *body, enum hl_rc rc, const char *reason, const char *detail)
{
    struct scrape_result out = parse(status, -1, body);
    cr_expect_eq(out.rc, rc, "%s: %s", body, hl_rc_name(out.rc));
    cr_expect_eq(out.err.rc, rc);
    cr_expect_str_eq(out.err.msg, reason, "%s: %s", body, out.err.msg);
    cr_expect_leq(strlen(out.err.msg), 42, "fits the status column behind \"failed: \"");
    cr_expect_str_eq(or_none(out.detail), or_none(detail), "%s: %s", body, out.detail);
    cr_expect_eq(out.retry_after_ms, -1);
    cr_expect_null(out.text, "a failure is never content");
    scrape_result_release(&out);
}

Test(firecrawl, failures_of_firecrawl_are_sorted_into_passing_and_final)
{
    static const struct {
        long status;
        const char *code; /* NULL = none */
        enum hl_rc rc;
        const char *reason;
    } cases[] = {
        {400, "BAD_REQUEST",                   HL_FATAL, "Firecrawl answered 400"      },
        {400, "BAD_REQUEST_INVALID_JSON",      HL_FATAL, "Firecrawl answered 400"      },
        {401, NULL,                            HL_FATAL, "Firecrawl answered 401"      },
        {402, NULL,                            HL_FATAL, "Firecrawl answered 402"      },
        {403, "UNSUPPORTED_SITE",              HL_FATAL, "Firecrawl answered 403"      },
        {404, "SCRAPE_NO_CACHED_DATA",         HL_FATAL, "Firecrawl answered 404"      },
        {409, NULL,                            HL_FATAL, "Firecrawl answered 409"      },
        {301, NULL,                            HL_FATAL, "Firecrawl answered 301"      },
        {408, NULL,                            HL_RETRY, "Scrape timed out"            },
        {408, "SCRAPE_TIMEOUT",                HL_RETRY, "Scrape timed out"            },
        {408, "CONCURRENCY_QUEUE_TIMEOUT",     HL_RETRY, "Scrape timed out in queue"   },
        {425, NULL,                            HL_RETRY, "Firecrawl answered 425"      },
        {429, NULL,                            HL_RETRY, "Firecrawl answered 429"      },
        {500, NULL,                            HL_RETRY, "Firecrawl answered 500"      },
        {500, "UNKNOWN_ERROR",                 HL_RETRY, "Firecrawl answered 500"      },
        {500, "SCRAPE_ALL_ENGINES_FAILED",     HL_RETRY, "All scraping engines failed" },
        {500, "SCRAPE_SSL_ERROR",              HL_RETRY, "target's certificate refused"},
        {500, "SCRAPE_SITE_ERROR",             HL_RETRY, "target cannot be loaded"     },
        {500, "SCRAPE_PDF_X",                  HL_RETRY, "Firecrawl answered 500"      },
        {500, "SCRAPE_UNSUPPORTED_FILE_ERROR", HL_FATAL, "file type not supported"     },
        {500, "SCRAPE_ZDR_VIOLATION_ERROR",    HL_FATAL, "zero data retention violated"},
        {502, NULL,                            HL_RETRY, "Firecrawl answered 502"      },
        {503, NULL,                            HL_RETRY, "Firecrawl answered 503"      },
        {504, NULL,                            HL_RETRY, "Firecrawl answered 504"      },
        {200, "SCRAPE_DNS_RESOLUTION_ERROR",   HL_RETRY, "host name not found"         },
        {200, NULL,                            HL_RETRY, "Firecrawl reported a failure"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *code = cases[i].code;
        char *body = mem_printf("{\"success\":false,\"error\":\"why\"%s%s%s}",
            code ? ",\"code\":\"" : "", code ? code : "", code ? "\"" : "");
        char *detail = mem_printf("%s%swhy", code ? code : "", code ? ": " : "");
        check_failure(cases[i].status, body, cases[i].rc, cases[i].reason, detail);
        free(body);
        free(detail);
    }
}

Test(firecrawl, the_details_of_a_bad_request_are_told)
{
    check_failure(400,
        "{\"success\":false,\"code\":\"BAD_REQUEST\",\"error\":\"Bad Request\",\"details\":["
        "{\"message\":\"URL uses unsupported protocol\",\"path\":[\"url\"]},"
        "{\"code\":\"custom\",\"message\":\"Invalid URL\"}, 5]}",
        HL_FATAL, "Firecrawl answered 400",
        "BAD_REQUEST: Bad Request; URL uses unsupported protocol; Invalid URL");
}

Test(firecrawl, answers_of_what_stands_in_front_need_not_be_json)
{
    check_failure(
        404, "<pre>Cannot POST /v2/scrape</pre>", HL_FATAL, "Firecrawl answered 404", NULL);
    check_failure(502, "<html>Bad Gateway</html>", HL_RETRY, "Firecrawl answered 502", NULL);
    check_failure(503, "", HL_RETRY, "Firecrawl answered 503", NULL);
    check_failure(200, "<html>", HL_RETRY, "Firecrawl's answer is not JSON",
        "line 1 column 1: not valid JSON");
    check_failure(200, "[]", HL_RETRY, "Firecrawl's answer is not JSON", NULL);
}

Test(firecrawl, broken_successes_are_failures)
{
    static const struct {
        const char *body, *reason, *detail;
    } cases[] = {
        {"{}",                                 "Firecrawl reported a failure",  NULL },
        {"{\"success\":\"true\",\"data\":{}}", "Firecrawl reported a failure",  NULL },
        {"{\"success\":true,\"data\":null}",   "no text in Firecrawl's answer", NULL },
        {"{\"success\":true}",                 "no text in Firecrawl's answer", NULL },
        {DATA("\"markdown\":[1]"),             "no text in Firecrawl's answer", NULL },
        {DATA("\"warning\":\"a\\nb\""),        "no text in Firecrawl's answer", "a b"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_failure(200, cases[i].body, HL_RETRY, cases[i].reason, cases[i].detail);
}

Test(firecrawl, the_error_page_of_a_target_is_a_failure)
{
    static const struct {
        long status;
        enum hl_rc rc;
    } cases[] = {
        {400, HL_FATAL},
        {401, HL_FATAL},
        {403, HL_FATAL},
        {404, HL_FATAL},
        {410, HL_FATAL},
        {408, HL_RETRY},
        {425, HL_RETRY},
        {429, HL_RETRY},
        {500, HL_RETRY},
        {503, HL_RETRY},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *reason = mem_printf("target answered %ld", cases[i].status);
        char *body = mem_printf("{\"success\":true,\"data\":{\"markdown\":\"# Err\",\"metadata\":"
                                "{\"error\":\"Why\",\"statusCode\":%ld}}}",
            cases[i].status);
        check_failure(200, body, cases[i].rc, reason, "Why");
        struct scrape_result out = parse(200, -1, body);
        cr_expect_eq(out.target_status, cases[i].status);
        scrape_result_release(&out);
        free(body);
        free(reason);
    }
}

Test(firecrawl, says_when_to_come_back_from_header_field_or_text)
{
    static const struct {
        int64_t header_ms;
        const char *body;
        int64_t ms;
    } cases[] = {
        {7000, "{\"error\":\"retry after 25s\"}",                           7000               },
        {0,    "{\"retry_after_seconds\":3}",                               0                  },
        {-1,   "{\"retry_after_seconds\":3,\"error\":\"retry after 25s\"}", 3000               },
        {-1,   "{\"retry_after_seconds\":1.5}",                             1500               },
        {-1,   "{\"details\":{\"state\":\"x\",\"retryAfterSeconds\":600}}", 600000             },
        {-1,   "{\"error\":\"Please Retry After 1s\"}",                     1000               },
        {-1,   "{\"error\":\"retry after lunch\"}",                         -1                 },
        {-1,   "{\"error\":\"retry after 5 minutes\"}",                     -1                 },
        {-1,   "{\"error\":\"retry after \"}",                              -1                 },
        {-1,   "{\"error\":\"retry after 99999999999999999999999s\"}",      -1                 },
        {-1,   "{\"retry_after_seconds\":-1}",                              -1                 },
        {-1,   "{\"retry_after_seconds\":\"5\"}",                           -1                 },
        {-1,   "{\"retry_after_seconds\":1e300}",                           30LL * 86400 * 1000},
        {-1,   "",                                                          -1                 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scrape_result out = parse(429, cases[i].header_ms, cases[i].body);
        cr_expect_eq(
            out.retry_after_ms, cases[i].ms, "%s: %ld", cases[i].body, (long)out.retry_after_ms);
        scrape_result_release(&out);
    }
}

Test(firecrawl, a_long_explanation_is_cut_and_stays_one_line)
{
    struct buf b = {0};
    buf_puts(&b, "{\"error\":\"a\\nb\\tc ");
    for (int i = 0; i < 10000; i++)
        buf_puts(&b, "é");
    buf_puts(&b, "\"}");
    struct scrape_result out = parse(500, -1, b.data);
    cr_assert_not_null(out.detail);
    cr_expect_eq(strncmp(out.detail, "a b c é", 8), 0);
    cr_expect(strlen(out.detail) > 500 && strlen(out.detail) <= 1000);
    scrape_result_release(&out);
    buf_release(&b);
}

/* --- pages ------------------------------------------------------------------------------- */

struct page {
    const char *body;
    const char *text, *title, *description, *language, *final_url;
    long target_status;
};

Test(firecrawl, a_page_is_read_with_what_is_known_about_it)
{
    static const struct page pages[] = {
        {.body = DATA("\"markdown\":\"Hello **w**, caf\\u00e9\",\"html\":\"<b>\",\"metadata\":{"
                      "\"title\":\"T\",\"description\":\"D\",\"language\":\"en\","
                      "\"ogLocaleAlternate\":[],\"sourceURL\":\"http://a/r\","
                      "\"url\":\"http://a/\",\"statusCode\":200}"),
         .text = "Hello **w**, café",
         .title = "T",
         .description = "D",
         .language = "en",
         .final_url = "http://a/",
         .target_status = 200},
        {.body = DATA("\"markdown\":\"x\",\"metadata\":{\"sourceURL\":\"http://a/p\"}"),
         .text = "x",
         .final_url = "http://a/p",
         .target_status = 200},
        {.body = DATA("\"markdown\":\"x\",\"metadata\":{\"title\":[\"T1\",\"T2\"],"
                      "\"description\":[null,\"D2\"],\"language\":[],\"statusCode\":304}"),
         .text = "x",
         .title = "T1",
         .description = "D2",
         .target_status = 304},
        {.body = DATA("\"markdown\":\"x\",\"metadata\":{\"title\":5,\"statusCode\":\"?\"}"),
         .text = "x",
         .target_status = 200              },
        {.body = DATA("\"markdown\":\"x\",\"rawHtml\":\"<p>x</p>\","
                      "\"links\":[\"http://a/b\"]"),
         .text = "x",
         .target_status = 200   },
        {.body = DATA("\"markdown\":\"\","
                      "\"metadata\":null"),
         .text = "",
         .target_status = 200},
    };
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        const struct page *p = &pages[i];
        struct scrape_result out = parse(200, -1, p->body);
        cr_assert_eq(out.rc, HL_OK, "%s: %s", p->body, out.err.msg);
        cr_expect_str_eq(out.text, p->text);
        cr_expect_str_eq(or_none(out.title), or_none(p->title));
        cr_expect_str_eq(or_none(out.description), or_none(p->description));
        cr_expect_str_eq(or_none(out.language), or_none(p->language));
        cr_expect_str_eq(or_none(out.final_url), or_none(p->final_url));
        cr_expect_eq(out.target_status, p->target_status);
        cr_expect_null(out.detail);
        scrape_result_release(&out);
    }
}

/* --- requests ---------------------------------------------------------------------------- */

static struct scrape_request request_of(const struct config *cfg, const char *url)
{
    struct scrape_request req = {0};
    struct hl_err err;
    cr_assert_eq(scrape_firecrawl.prepare(cfg, url, &req, &err), HL_OK);
    return req;
}

static void request_free(struct scrape_request *req)
{
    free(req->url);
    for (size_t i = 0; req->headers[i]; i++)
        free(req->headers[i]);
    buf_release(&req->body);
}

Test(firecrawl, asks_for_exactly_what_the_contract_names)
{
    struct config cfg = {.firecrawl_api_url = (char *)"http://fc:3002/",
        .firecrawl_api_key = (char *)"fc-key",
        .firecrawl_proxy = (char *)"basic",
        .scrape_timeout_ms = 120000};
    struct scrape_request req = request_of(&cfg, "https://e.org/\"q\"?a=é");
    cr_expect_str_eq(req.http.method, "POST");
    cr_expect_str_eq(req.url, "http://fc:3002/v2/scrape");
    cr_expect_str_eq(req.headers[0], "Content-Type: application/json");
    cr_expect_str_eq(req.headers[2], "Authorization: Bearer fc-key");
    cr_expect_eq(req.http.max_redirects, 0);
    cr_expect_eq(req.http.deny_private, false);
    cr_expect_eq(req.http.max_body, 32u << 20);
    cr_expect_str_eq(req.body.data,
        "{\"url\":\"https://e.org/\\\"q\\\"?a=é\",\"formats\":[\"markdown\",\"html\"],"
        "\"onlyMainContent\":true,\"timeout\":110000,\"maxAge\":0,\"proxy\":\"basic\"}");
    request_free(&req);
}

Test(firecrawl, leaves_out_an_empty_key_and_an_empty_proxy)
{
    struct config cfg = {.firecrawl_api_url = (char *)"http://fc",
        .firecrawl_api_key = (char *)"",
        .firecrawl_proxy = (char *)"",
        .scrape_timeout_ms = 120000};
    struct scrape_request req = request_of(&cfg, "http://e/");
    for (size_t i = 0; req.headers[i]; i++)
        cr_expect_not(strstr(req.headers[i], "Authorization"));
    cr_expect_not(strstr(req.body.data, "proxy"));
    request_free(&req);
}

Test(firecrawl, is_told_to_give_up_before_we_do)
{
    static const struct {
        int64_t total_ms, asked_ms;
    } cases[] = {
        {600000, 590000},
        {120000, 110000},
        {100000, 90000 },
        {60000,  54000 },
        {5000,   4500  },
        {1,      1     },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config cfg = {
            .firecrawl_api_url = (char *)"http://fc", .scrape_timeout_ms = cases[i].total_ms};
        struct scrape_request req = request_of(&cfg, "http://e/");
        struct hl_err err;
        json_t *body = json_parse(req.body.data, req.body.len, &err);
        cr_expect_eq(json_integer_value(json_object_get(body, "timeout")), cases[i].asked_ms);
        json_decref(body);
        request_free(&req);
    }
}

Test(firecrawl, refuses_a_url_that_is_no_text)
{
    struct config cfg = {.firecrawl_api_url = (char *)"http://fc", .scrape_timeout_ms = 1000};
    struct scrape_request req = {0};
    struct hl_err err;
    cr_expect_eq(scrape_firecrawl.prepare(&cfg, "http://e/\xff", &req, &err), HL_FATAL);
    cr_expect_str_eq(err.msg, "not a web address");
}

Test(firecrawl, a_page_that_holds_a_nul_character_is_indexed_without_it)
{
    struct scrape_result out =
        parse(200, -1, DATA("\"markdown\":\"a\\u0000b\",\"metadata\":{\"title\":\"t\\u0000\"}"));
    cr_assert_eq(out.rc, HL_OK, "%s", out.err.msg);
    cr_expect_str_eq(out.text, "ab");
    cr_expect_str_eq(out.title, "t");
    scrape_result_release(&out);
}
