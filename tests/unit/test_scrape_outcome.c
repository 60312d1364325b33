/* scrape_outcome: every way a scrape can end, as passing or final, and as a sign for or against the
 * server that was asked. */
#include "worker/scrape_outcome.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void check(enum scrape_saying saying, long status, const char *code, enum hl_rc rc,
    enum upstream_sign sign)
{
    const struct scrape_outcome *o = scrape_outcome(saying, status, code);
    cr_expect_eq(o->rc, rc, "saying %d, status %ld, code %s: %s", (int)saying, status,
        code ? code : "-", hl_rc_name(o->rc));
    cr_expect_eq(o->sign, sign, "saying %d, status %ld, code %s: sign %d", (int)saying, status,
        code ? code : "-", (int)o->sign);
}

Test(scrape_outcome, what_is_no_status)
{
    static const struct {
        enum scrape_saying saying;
        enum hl_rc rc;
        enum upstream_sign sign;
    } cases[] = {
        {SAID_NO_CALL,       HL_FATAL, UPSTREAM_SILENT},
        {SAID_NO_CONNECTION, HL_RETRY, UPSTREAM_DOWN  },
        {SAID_NO_ANSWER,     HL_RETRY, UPSTREAM_FAILS },
        {SAID_UNUSABLE,      HL_FATAL, UPSTREAM_WORKS },
        {SAID_BROKEN,        HL_RETRY, UPSTREAM_FAILS },
        {SAID_NO_TEXT,       HL_RETRY, UPSTREAM_WORKS },
        {SAID_NO_INDEX,      HL_FATAL, UPSTREAM_WORKS },
        {SAID_SUCCESS,       HL_OK,    UPSTREAM_WORKS },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check(cases[i].saying, 0, NULL, cases[i].rc, cases[i].sign);
}

/* A status means the same whoever it comes from; only what it says of the upstream differs: behind
 * Firecrawl a page's trouble is not Firecrawl's. */
Test(scrape_outcome, every_status)
{
    for (long status = 100; status < 1000; status++) {
        bool passing = status == 408 || status == 425 || status == 429 || status >= 500;
        enum hl_rc rc = passing ? HL_RETRY : HL_FATAL;
        check(SAID_REPORTED, status, NULL, rc, UPSTREAM_WORKS);
        check(SAID_PAGE, status, NULL, rc,
            status == 429                    ? UPSTREAM_THROTTLES
            : status >= 502 && status <= 504 ? UPSTREAM_FAILS
                                             : UPSTREAM_WORKS);
        if (status < 600) /* a 2xx that says "success": false may pass */
            check(SAID_FIRECRAWL, status, NULL, status / 100 == 2 ? HL_RETRY : rc,
                status == 429   ? UPSTREAM_THROTTLES
                : status >= 500 ? UPSTREAM_FAILS
                                : UPSTREAM_WORKS);
    }
}

Test(scrape_outcome, a_code_of_firecrawl_decides_before_its_status)
{
    static const struct {
        const char *code;
        long status;
        enum hl_rc rc;
        enum upstream_sign sign;
    } cases[] = {
        {"SCRAPE_TIMEOUT",                408, HL_RETRY, UPSTREAM_WORKS    },
        {"CONCURRENCY_QUEUE_TIMEOUT",     408, HL_RETRY, UPSTREAM_WORKS    },
        {"SCRAPE_ALL_ENGINES_FAILED",     500, HL_RETRY, UPSTREAM_WORKS    },
        {"SCRAPE_DNS_RESOLUTION_ERROR",   200, HL_RETRY, UPSTREAM_WORKS    },
        {"SCRAPE_SSL_ERROR",              500, HL_RETRY, UPSTREAM_WORKS    },
        {"SCRAPE_SITE_ERROR",             500, HL_RETRY, UPSTREAM_WORKS    },
        {"SCRAPE_UNSUPPORTED_FILE_ERROR", 500, HL_FATAL, UPSTREAM_WORKS    },
        {"SCRAPE_ZDR_VIOLATION_ERROR",    500, HL_FATAL, UPSTREAM_WORKS    },
        {"SCRAPE_PDF_X",                  500, HL_RETRY, UPSTREAM_WORKS    },
        {"SCRAPE_",                       503, HL_RETRY, UPSTREAM_WORKS    },
        {"SCRAPE",                        503, HL_RETRY, UPSTREAM_FAILS    },
        {"SCRAPE_NO_CACHED_DATA",         404, HL_FATAL, UPSTREAM_WORKS    },
        {"SCRAPE_TIMEOUT_X",              403, HL_FATAL, UPSTREAM_WORKS    },
        {"UNKNOWN_ERROR",                 500, HL_RETRY, UPSTREAM_FAILS    },
        {"UNKNOWN_ERROR",                 429, HL_RETRY, UPSTREAM_THROTTLES},
        {"",                              502, HL_RETRY, UPSTREAM_FAILS    },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check(SAID_FIRECRAWL, cases[i].status, cases[i].code, cases[i].rc, cases[i].sign);
}

Test(scrape_outcome, odd_statuses_end_too)
{
    static const long odd[] = {-1, 0, 1, 99, 600, 999, 1000000};
    for (size_t i = 0; i < COUNT(odd); i++) {
        check(SAID_FIRECRAWL, odd[i], NULL, HL_FATAL, UPSTREAM_WORKS);
        check(SAID_REPORTED, odd[i], NULL, odd[i] >= 500 ? HL_RETRY : HL_FATAL, UPSTREAM_WORKS);
    }
}

/* As Prometheus is told. */
Test(scrape_outcome, what_came_of_a_fetch)
{
    static const struct {
        enum scrape_saying saying;
        long status;
        const char *code;
        enum meter_FETCH fetch;
    } cases[] = {
        {SAID_SUCCESS,       200, NULL,                            FETCH_OK        },
        {SAID_NO_CALL,       0,   NULL,                            FETCH_REFUSED   },
        {SAID_NO_CONNECTION, 0,   NULL,                            FETCH_CONNECTION},
        {SAID_NO_ANSWER,     0,   NULL,                            FETCH_TIMEOUT   },
        {SAID_PAGE,          404, NULL,                            FETCH_PAGE      },
        {SAID_PAGE,          429, NULL,                            FETCH_THROTTLED },
        {SAID_PAGE,          500, NULL,                            FETCH_UPSTREAM  },
        {SAID_REPORTED,      503, NULL,                            FETCH_PAGE      },
        {SAID_REPORTED,      429, NULL,                            FETCH_THROTTLED },
        {SAID_FIRECRAWL,     429, NULL,                            FETCH_THROTTLED },
        {SAID_FIRECRAWL,     500, NULL,                            FETCH_UPSTREAM  },
        {SAID_FIRECRAWL,     401, NULL,                            FETCH_UPSTREAM  },
        {SAID_FIRECRAWL,     500, "SCRAPE_TIMEOUT",                FETCH_TIMEOUT   },
        {SAID_FIRECRAWL,     500, "SCRAPE_UNSUPPORTED_FILE_ERROR", FETCH_PAGE      },
        {SAID_BROKEN,        200, NULL,                            FETCH_UPSTREAM  },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct scrape_outcome *o =
            scrape_outcome(cases[i].saying, cases[i].status, cases[i].code);
        cr_expect_eq(o->fetch, cases[i].fetch, "case %zu: %d", i, (int)o->fetch);
    }
}
