/* What all verbs of hooklinectl have in common: exit codes, the first member of their JSON, who asks
 * before it writes. A verb that is new fails here until it has its rows. */
#include "tests/support/harness.h"

#include "base/mem.h"
#include "worker/ctl/ctl.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(ctl_manners, .timeout = 120);

#define EVENT "0b9d3c52-86c1-4d5a-a0a3-3f4f3a6f2c11"
#define SOME  "a-secret-that-is-long-enough-for-"

static const char *db = "postgresql://nobody@127.0.0.1:1/none", *redis = "redis://127.0.0.1:1";
static const char *out; /* of the last command */

/* words: a command line, split at blanks; DIR is the test's folder. */
static int run(const char *words)
{
    static const char *dir;
    const char *argv[24] = {harness_text("%s/hooklinectl", harness_build())};
    dir = dir ? dir : harness_dir();
    char *line = mem_strdup(words), *rest = line;
    int n = 1;
    for (const char *word; (word = strtok_r(rest, " ", &rest)) && n < 23;)
        argv[n++] = strncmp(word, "DIR", 3) ? word : harness_text("%s%s", dir, word + 3);
    struct test_proc *p = test_proc_start(argv,
        (const char *const[]){harness_text("WEBHOOK_DATABASE_URL=%s", db),
            harness_text("WEBHOOK_REDIS_URL=%s", redis), "WEBHOOK_SECRET=" SOME "senders",
            "WEBHOOK_API_SECRET=" SOME "readers", "WEBHOOK_SCRAPER=direct", "WEBHOOK_PORT=9",
            harness_text("WEBHOOK_SPOOL_DIR=%s", dir), NULL},
        -1);
    int code = test_proc_wait(p, 30000);
    out = test_proc_log(p);
    free(line);
    return code;
}

struct row {
    const char *words;
    int code;
};

static void each_row(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int code = run(rows[i].words);
        cr_expect_eq(
            code, rows[i].code, "%s: %d, expected %d: %s", rows[i].words, code, rows[i].code, out);
        if (strstr(rows[i].words, "--json") && rows[i].code == CTL_OK)
            cr_expect(strncmp(out, "{\"version\":1,", 13) == 0 || strstr(out, "\n{\"version\":1,"),
                "%s: %s", rows[i].words, out);
    }
}
#define N(rows)        (sizeof(rows) / sizeof((rows)[0]))
#define EACH_ROW(rows) each_row(rows, N(rows))

/* Calls each with every verb and action. */
static void each_command(const struct ctl_command *const *among,
    void (*each)(const struct ctl_command *c, void *ctx), void *ctx)
{
    for (; *among; among++) {
        if ((*among)->actions)
            each_command((*among)->actions, each, ctx);
        else
            each(*among, ctx);
    }
}

struct table {
    const struct row *rows;
    size_t n;
};

static bool is_in(const struct table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (strncmp(t->rows[i].words, name, strlen(name)) == 0)
            return true;
    return false;
}

/* --- a store is away --------------------------------------------------------------------- */

static const struct row away[] = {
    {"status",                                 CTL_UNREACHABLE},
    {"top --once",                             CTL_UNREACHABLE},
    {"queues",                                 CTL_UNREACHABLE},
    {"workers list",                           CTL_UNREACHABLE},
    {"workers quiet --all --yes",              CTL_UNREACHABLE},
    {"workers kick --all --yes",               CTL_UNREACHABLE},
    {"events list",                            CTL_UNREACHABLE},
    {"events show 1",                          CTL_UNREACHABLE},
    {"events retry 1 --yes",                   CTL_UNREACHABLE},
    {"events trace 1",                         CTL_UNREACHABLE},
    {"crawls list",                            CTL_UNREACHABLE},
    {"crawls list --upstream",                 CTL_UNREACHABLE},
    {"crawls show x",                          CTL_UNREACHABLE},
    {"search x",                               CTL_UNREACHABLE},
    {"rejects list",                           CTL_UNREACHABLE},
    {"rejects show 1-1",                       CTL_UNREACHABLE},
    {"rejects resubmit 1-1 --yes",             CTL_UNREACHABLE},
    {"pause --yes",                            CTL_UNREACHABLE},
    {"resume --yes",                           CTL_UNREACHABLE},
    {"drain --patience 1 --quiet",             CTL_UNREACHABLE},
    {"zombies list",                           CTL_UNREACHABLE},
    {"zombies reap --yes",                     CTL_UNREACHABLE},
    {"dead list",                              CTL_UNREACHABLE},
    {"dead show 1",                            CTL_UNREACHABLE},
    {"dead retry 1 --yes",                     CTL_UNREACHABLE},
    {"dead purge 1-1 --yes --confirm 1",       CTL_UNREACHABLE},
    {"redrive plan",                           CTL_UNREACHABLE},
    {"redrive list",                           CTL_UNREACHABLE},
    {"redrive show 1f0c93ab",                  CTL_UNREACHABLE},
    {"redrive apply 1f0c93ab --yes",           CTL_UNREACHABLE},
    {"redrive stop 1f0c93ab",                  CTL_UNREACHABLE},
    {"spool list",                             CTL_UNREACHABLE},
    {"spool push --yes",                       CTL_OK         }, /* nothing is there to be pushed */
    {"log-level",                              CTL_UNREACHABLE},
    {"log-level debug --yes",                  CTL_UNREACHABLE},
    {"audit",                                  CTL_UNREACHABLE},
    {"doctor",                                 CTL_UNREACHABLE},
    {"health",                                 CTL_UNREACHABLE}, /* no program is there either */
    {"config",                                 CTL_OK         },
    {"config --check",                         CTL_OK         },
    {"migrate",                                CTL_UNREACHABLE},
    {"migrate --await 1",                      CTL_TIMEOUT    }, /* it waits for them */
    {"export DIR/file",                        CTL_UNREACHABLE},
    {"import DIR/file --yes",                  CTL_ERROR      }, /* the file is read first */
    {"send --url http://page.test/",           CTL_UNREACHABLE},
    {"bench --rate 1 --duration 1 --warmup 0", CTL_UNREACHABLE},
    {"completion bash",                        CTL_OK         },
};

static void expect_row(const struct ctl_command *c, void *ctx)
{
    cr_expect(is_in(ctx, c->name), "%s: what does it say when the stores are away?", c->name);
}

Test(ctl_manners, who_cannot_ask_a_store_says_69)
{
    each_command(ctl_commands, expect_row, &(struct table){away, N(away)});
    EACH_ROW(away);
}

/* --- nothing is there ---------------------------------------------------------------------- */

static void start_empty(void)
{
    db = harness_database(true);
    redis = test_redis_url(test_redis_start());
}

Test(ctl_manners, one_that_is_not_there_is_2_an_empty_list_is_no_failure)
{
    static const struct row rows[] = {
        {"status --json",                             CTL_OK       },
        {"queues --json",                             CTL_OK       },
        {"workers list --json",                       CTL_OK       },
        {"workers quiet nobody --yes",                CTL_NOT_EMPTY},
        {"workers kick nobody --yes",                 CTL_NOT_EMPTY},
        {"events list --json",                        CTL_OK       },
        {"events show 999",                           CTL_NOT_EMPTY},
        {"events show " EVENT " --json",              CTL_NOT_EMPTY},
        {"events retry 999 --yes",                    CTL_NOT_EMPTY},
        {"events retry --error x --yes --json",       CTL_OK       },
        {"events trace " EVENT,                       CTL_NOT_EMPTY},
        {"crawls list --json",                        CTL_OK       },
        {"crawls list --upstream",                    CTL_NOT_EMPTY},
        {"crawls show x --json",                      CTL_NOT_EMPTY},
        {"search mackerel --json",                    CTL_NOT_EMPTY},
        {"rejects list --json",                       CTL_OK       },
        {"rejects show 1-1 --json",                   CTL_NOT_EMPTY},
        {"rejects resubmit 1-1 --yes",                CTL_NOT_EMPTY},
        {"zombies list --json",                       CTL_OK       },
        {"zombies reap --yes --json",                 CTL_OK       },
        {"dead list --json",                          CTL_OK       },
        {"dead show 999",                             CTL_NOT_EMPTY},
        {"dead retry 999 --yes",                      CTL_NOT_EMPTY},
        {"dead retry --error x --yes --json",         CTL_OK       },
        {"dead purge 1-1 --yes --confirm 1",          CTL_NOT_EMPTY},
        {"dead purge --all --yes --confirm 0 --json", CTL_OK       },
        {"redrive plan --json",                       CTL_NOT_EMPTY},
        {"redrive list --json",                       CTL_OK       },
        {"redrive show 1f0c93ab",                     CTL_NOT_EMPTY},
        {"redrive apply 1f0c93ab --yes",              CTL_NOT_EMPTY},
        {"redrive stop 1f0c93ab --yes",               CTL_NOT_EMPTY},
        {"spool list --json",                         CTL_OK       },
        {"spool push --yes --json",                   CTL_OK       },
        {"log-level --json",                          CTL_OK       },
        {"config WEBHOOK_PORT --json",                CTL_OK       },
        {"config WEBHOOK_NOTHING",                    CTL_USAGE    },
        {"migrate --status",                          CTL_OK       },
        {"export DIR/file",                           CTL_NOT_EMPTY}, /* nothing is paused */
    };
    start_empty();
    EACH_ROW(rows);
    cr_expect_eq(sql_int(db, "SELECT count(*) FROM webhook.operator_log"), 0,
        "nothing was there to be changed");
}

/* --- who writes ---------------------------------------------------------------------------- */

/* Each with what it needs; the test says --dry-run, or nothing. */
static const struct row writers[] = {
    {"workers quiet --all",          CTL_OK       },
    {"workers kick --all",           CTL_OK       },
    {"events retry --status failed", CTL_OK       },
    {"rejects resubmit 1-1",         CTL_NOT_EMPTY},
    {"pause",                        CTL_OK       },
    {"resume",                       CTL_OK       },
    {"drain --fence",                CTL_OK       },
    {"zombies reap",                 CTL_OK       },
    {"dead retry --all",             CTL_OK       },
    {"dead purge --all",             CTL_OK       },
    {"redrive apply 1f0c93ab",       CTL_NOT_EMPTY},
    {"spool push",                   CTL_OK       },
    {"log-level debug",              CTL_OK       },
    {"import DIR/file",              CTL_ERROR    },
};

static bool takes(const struct ctl_command *c, int key)
{
    for (const struct ctl_option *o = c->options; o && o->key; o++)
        if (o->key == key)
            return true;
    return false;
}

static void expect_writer(const struct ctl_command *c, void *ctx)
{
    static const char *const others[] = {"redrive stop", "bench"}; /* who never ask, or of others */
    bool asks = takes(c, CTL_YES);
    for (size_t i = 0; i < N(others); i++)
        asks = asks && strcmp(c->name, others[i]) != 0;
    cr_expect_eq(is_in(ctx, c->name), asks, "%s: does it ask before it writes?", c->name);
    if (asks)
        cr_expect(takes(c, CTL_DRY_RUN) && takes(c, CTL_REASON), "%s", c->name);
}

Test(ctl_manners, who_writes_asks_first_and_shows_without_a_trace)
{
    each_command(ctl_commands, expect_writer, &(struct table){writers, N(writers)});
    start_empty();
    for (size_t i = 0; i < N(writers); i++) {
        const struct row *w = &writers[i];
        cr_expect_eq(run(w->words), CTL_USAGE, "nobody is there to answer: %s: %s", w->words, out);
        cr_expect(strstr(out, "--yes"), "%s: %s", w->words, out);
        int code = run(harness_text("%s --dry-run", w->words));
        cr_expect_eq(code, w->code, "%s --dry-run: %d: %s", w->words, code, out);
    }
    cr_expect_eq(sql_int(db, "SELECT count(*) FROM webhook.operator_log"), 0);
    cr_expect_eq(sql_int(db, "SELECT count(*) FROM webhook.queues WHERE paused_at IS NOT NULL"
                             " OR fenced_at IS NOT NULL"),
        0);
}
