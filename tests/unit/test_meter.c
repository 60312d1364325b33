/* What is counted for Prometheus: cells, and the text that many processes' cells become. */
#include "base/meter.h"

#include "base/buf.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PROCESSES = 3 };
static meter_cell *cells[PROCESSES];

/* From now on this is process i. */
static void become(int i)
{
    if (!cells[i])
        cells[i] = mem_zero(meter_cells() * sizeof(meter_cell));
    meter_use(cells[i]);
}

static void forget(void)
{
    meter_use(NULL);
    for (int i = 0; i < PROCESSES; i++)
        free(cells[i]);
}

TestSuite(meter, .fini = forget);

/* --- cells ------------------------------------------------------------------------------- */

Test(meter, what_is_counted_is_read_by_its_labels)
{
    become(0);
    meter_inc(M_ACCEPTED, SOURCE_CHANGE, SAFE_ROW);
    meter_add(M_ACCEPTED, SOURCE_CHANGE, SAFE_ROW, 4);
    meter_inc(M_ACCEPTED, SOURCE_CRAWL, SAFE_REDIS);
    meter_set(M_CONNECTIONS, 0, 0, 7);
    meter_set(M_CONNECTIONS, 0, 0, 3);
    cr_expect_eq(meter_get(M_ACCEPTED, SOURCE_CHANGE, SAFE_ROW), 5);
    cr_expect_eq(meter_get(M_ACCEPTED, SOURCE_CRAWL, SAFE_REDIS), 1);
    cr_expect_eq(meter_get(M_ACCEPTED, SOURCE_CRAWL, SAFE_ROW), 0);
    cr_expect_eq(meter_get(M_CONNECTIONS, 0, 0), 3);
    cr_expect_eq(meter_read(cells[0], M_ACCEPTED, SOURCE_CHANGE, SAFE_ROW), 5);
}

Test(meter, a_process_without_cells_of_the_board_counts_for_itself)
{
    meter_inc(M_REQUESTS, 0, 0);
    cr_expect_eq(meter_get(M_REQUESTS, 0, 0), 1);
    become(0);
    cr_expect_eq(meter_get(M_REQUESTS, 0, 0), 0);
    meter_use(NULL);
    cr_expect_eq(meter_get(M_REQUESTS, 0, 0), 1, "goes on with its own");
}

/* No cell of any other series changes, whatever is written outside a list or to the wrong kind. */
Test(meter, what_is_outside_its_list_or_of_another_kind_changes_nothing)
{
    become(0);
    meter_inc(M_ACCEPTED, SOURCE_COUNT, 0);
    meter_inc(M_ACCEPTED, -1, 0);
    meter_inc(M_ACCEPTED, 0, SAFE_COUNT);
    meter_inc(M_ACCEPTED, 0, -1);
    meter_set(M_ACCEPTED, 0, 0, 5);
    meter_inc(M_CONNECTIONS, 0, 0);
    meter_inc(M_EVENT, 0, 0);
    meter_observe(M_REQUESTS, 0, 5);
    meter_observe(M_PHASE, PHASE_COUNT, 5);
    for (size_t i = 0; i < meter_cells(); i++)
        cr_assert_eq(atomic_load(&cells[0][i]), 0, "cell %zu", i);
    cr_expect_eq(meter_get(M_ACCEPTED, SOURCE_COUNT, 0), 0);
    cr_expect_eq(meter_get(M_EVENT, 0, 0), 0);
    cr_expect_eq(meter_bucket(M_EVENT, 0, -1), 0);
    cr_expect_eq(meter_bucket(M_EVENT, 0, METER_BUCKETS_MAX), 0);
}

/* Each series has cells of its own: what one process writes, every series once, nobody overwrites. */
Test(meter, no_two_series_share_a_cell)
{
    become(0);
    int64_t n = 0;
    for (int id = 0; id < METER_COUNT; id++)
        for (int a = 0; a < 32; a++) {
            for (int b = 0; b < 32; b++) {
                meter_add((enum meter_id)id, a, b, 1);
                meter_set((enum meter_id)id, a, b, 1);
            }
            meter_observe((enum meter_id)id, a, 0);
        }
    for (size_t i = 0; i < meter_cells(); i++) {
        int64_t cell = atomic_load(&cells[0][i]);
        cr_expect(cell == 0 || cell == 1, "cell %zu was written %d times", i, (int)cell);
        n += cell;
    }
    cr_expect_gt(n, METER_COUNT);
}

Test(meter, an_observation_falls_into_the_first_bucket_that_holds_it)
{
    static const struct {
        int64_t us;
        int bucket;
    } cases[] = {
        {0,                    0 },
        {1000,                 0 }, /* a bound is within its bucket */
        {1001,                 1 },
        {2500,                 1 },
        {10000,                3 },
        {2500000,              10},
        {2500001,              11},
        {INT64_C(86400000000), 11},
    };
    const double *bounds;
    become(0);
    cr_assert_eq(meter_bounds(M_ACCEPT, &bounds), 11);
    cr_expect_float_eq(bounds[10], 2.5, 1e-9);
    cr_expect_eq(meter_bounds(M_ACCEPTED, &bounds), 0);
    cr_expect_null(bounds);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int64_t before = meter_bucket(M_ACCEPT, SOURCE_CRAWL, cases[i].bucket);
        meter_observe(M_ACCEPT, SOURCE_CRAWL, cases[i].us);
        cr_expect_eq(meter_bucket(M_ACCEPT, SOURCE_CRAWL, cases[i].bucket), before + 1, "%lld us",
            (long long)cases[i].us);
    }
    cr_expect_eq(meter_bucket(M_ACCEPT, SOURCE_CHANGE, 0), 0);
}

Test(meter, gauges_go_with_their_process_and_counters_stay)
{
    become(0);
    meter_inc(M_REQUESTS, 0, 0);
    meter_observe(M_BATCH, STATEMENT_CLAIM, 3);
    meter_set(M_CONNECTIONS, 0, 0, 7);
    meter_clear_gauges(cells[0]);
    cr_expect_eq(meter_get(M_REQUESTS, 0, 0), 1);
    cr_expect_eq(meter_bucket(M_BATCH, STATEMENT_CLAIM, 2), 1);
    cr_expect_eq(meter_get(M_CONNECTIONS, 0, 0), 0);
}

/* --- text -------------------------------------------------------------------------------- */

static const char *print(enum meter_program program, const char *const *names)
{
    static struct buf out;
    struct meter_row rows[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        become(i);
        rows[i] = (struct meter_row){cells[i], names[i]};
    }
    buf_clear(&out);
    meter_print(program, rows, PROCESSES, &out);
    return buf_str(&out);
}

static bool has_line(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = text; (at = strstr(at, line)); at++)
        if ((at == text || at[-1] == '\n') && at[len] == '\n')
            return true;
    return false;
}

/* Two live, and one that is gone. */
static const char *sample(enum meter_program program)
{
    static const char *const names[PROCESSES] = {"worker-0", "say \"a\\b\nc\"", NULL};
    for (int i = 0; i < PROCESSES; i++) {
        become(i);
        meter_add(M_DUPLICATES, SOURCE_CHANGE, 0, i + 1);
        meter_add(M_JOBS, OUTCOME_COMPLETED, 0, 10);
        meter_set(M_CONNECTIONS, 0, 0, i + 1);
        meter_set(M_IN_FLIGHT, 0, 0, i + 1);
        meter_set(M_SPOOL_BYTES, SOURCE_CRAWL, 0, i + 1);
        meter_set(M_OLDEST_JOB, 0, 0, (i + 1) * 1500000);
        meter_set(M_RSS, 0, 0, i + 1);
        meter_set(M_LEASE_AGE, 0, 0, 250000 * i);
        meter_observe(M_BATCH, STATEMENT_CLAIM, i + 1);
        meter_observe(M_EVENT, 0, 70000);
        meter_observe(M_EVENT, 0, INT64_C(20000000000));
    }
    return print(program, names);
}

static const struct {
    enum meter_program program;
    const char *line;
} lines[] = {
    {METER_P, "# TYPE hookline_webhooks_duplicate_total counter"                      },
    {METER_P, "hookline_webhooks_duplicate_total{source=\"change\"} 6"                },
    {METER_P, "hookline_webhooks_duplicate_total{source=\"crawl\"} 0"                 },
    {METER_P, "hookline_webhooks_accepted_total{source=\"crawl\",safe_in=\"redis\"} 0"},
    {METER_P, "# TYPE hookline_http_connections gauge"                                },
    {METER_P, "hookline_http_connections 3"                                           },
    {METER_P, "hookline_spool_bytes{source=\"crawl\"} 2"                              },
    {METER_P, "hookline_resident_bytes{process=\"worker-0\"} 1"                       },
    {METER_P, "hookline_resident_bytes{process=\"say \\\"a\\\\b\\nc\\\"\"} 2"         },
    {METER_W, "hookline_jobs_total{outcome=\"completed\"} 30"                         },
    {METER_W, "hookline_job_oldest_seconds 3.000000"                                  },
    {METER_W, "hookline_lease_age_seconds{process=\"worker-0\"} 0.000000"             },
    {METER_W, "# TYPE hookline_batch_size histogram"                                  },
    {METER_W, "hookline_batch_size_bucket{kind=\"claim\",le=\"1\"} 1"                 },
    {METER_W, "hookline_batch_size_bucket{kind=\"claim\",le=\"2\"} 2"                 },
    {METER_W, "hookline_batch_size_bucket{kind=\"claim\",le=\"4\"} 3"                 },
    {METER_W, "hookline_batch_size_bucket{kind=\"claim\",le=\"+Inf\"} 3"              },
    {METER_W, "hookline_batch_size_sum{kind=\"claim\"} 6"                             },
    {METER_W, "hookline_batch_size_count{kind=\"claim\"} 3"                           },
    {METER_W, "hookline_event_seconds_bucket{le=\"0.05\"} 0"                          },
    {METER_W, "hookline_event_seconds_bucket{le=\"0.1\"} 3"                           },
    {METER_W, "hookline_event_seconds_bucket{le=\"14400\"} 3"                         },
    {METER_W, "hookline_event_seconds_bucket{le=\"+Inf\"} 6"                          },
    {METER_W, "hookline_event_seconds_sum 60000.210000"                               },
    {METER_W, "hookline_event_seconds_count 6"                                        },
};

Test(meter, processes_are_put_together_as_the_table_says)
{
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        forget();
        memset(cells, 0, sizeof(cells));
        cr_expect(has_line(sample(lines[i].program), lines[i].line), "%s", lines[i].line);
    }
}

Test(meter, a_process_that_is_gone_has_no_gauges_and_each_program_only_its_own)
{
    const char *text = sample(METER_P);
    cr_expect_null(strstr(text, "process=\"\""));
    cr_expect_null(strstr(text, "hookline_resident_bytes{process=\"worker-0\"} 3"));
    cr_expect_null(strstr(text, "hookline_jobs_total"));
    cr_expect_null(strstr(sample(METER_W), "hookline_webhooks_accepted_total"));
}

/* --- the form: every line of it ------------------------------------------------------------ */

struct family {
    char name[128], type[16];
};

static bool is_name(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!islower((unsigned char)s[i]) && s[i] != '_' && !(i && isdigit((unsigned char)s[i])))
            return false;
    return len > 0;
}

/* Behind NAME: {name="value",...}; NULL = malformed. */
static const char *labels_end(const char *at)
{
    if (*at != '{')
        return at;
    do {
        const char *name = ++at;
        at += strcspn(at, "=");
        if (!is_name(name, (size_t)(at - name)) || at[1] != '"')
            return NULL;
        for (at += 2; *at && *at != '"'; at++)
            if (*at == '\\' && !strchr("\\\"n", *++at))
                return NULL;
        if (*at++ != '"')
            return NULL;
    } while (*at == ',');
    return *at == '}' ? at + 1 : NULL;
}

static void check_sample(const struct family *f, const char *line)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count", NULL};
    size_t len = strcspn(line, "{ "), own = strlen(f->name);
    bool histogram = strcmp(f->type, "histogram") == 0, known = len == own && !histogram;
    cr_expect(strncmp(line, f->name, own) == 0, "%s is of no family", line);
    for (int i = 0; histogram && suffixes[i]; i++)
        known |=
            len == own + strlen(suffixes[i]) && strncmp(line + own, suffixes[i], len - own) == 0;
    cr_expect(known, "%s does not fit %s", line, f->name);
    const char *value = labels_end(line + len);
    cr_assert(value && *value == ' ', "%s", line);
    char *end;
    cr_expect(strtod(value + 1, &end) >= 0 && !*end, "%s", line);
}

static void check_family(struct family *f, const char *text, const char *line)
{
    char type[16] = "";
    const char *help = line + strlen("# HELP ");
    snprintf(f->name, sizeof(f->name), "%.*s", (int)strcspn(help, " "), help);
    const char *next = strchr(line, '\0') + 1;
    cr_assert_eq(sscanf(next, "# TYPE %*s %15s", type), 1, "%s", next);
    snprintf(f->type, sizeof(f->type), "%s", type);
    size_t len = strlen(f->name);
    bool total = len > 6 && strcmp(f->name + len - 6, "_total") == 0;
    cr_expect_eq(total, strcmp(type, "counter") == 0, "%s", f->name);
    cr_expect(help[len] == ' ' && help[len + 1], "%s has no help", f->name);
    for (const char *at = text; at < line; at = strchr(at, '\0') + 1)
        cr_expect_str_neq(at, line, "%s is there twice", f->name);
}

/* What is printed, line by line; it is cut up on the way. */
static void check_form(char *text)
{
    struct family f = {"", ""};
    char *end = strchr(text, '\0');
    cr_assert(end > text && end[-1] == '\n');
    for (char *at = text; at < end; at++)
        if (*at == '\n')
            *at = '\0';
    for (const char *at = text; at < end; at = strchr(at, '\0') + 1) {
        if (strncmp(at, "# HELP ", 7) == 0)
            check_family(&f, text, at);
        else if (strncmp(at, "# TYPE ", 7) != 0)
            check_sample(&f, at);
        for (const char *other = text; *at != '#' && other < at; other = strchr(other, '\0') + 1) {
            size_t len = (size_t)(strrchr(at, ' ') - at) + 1;
            cr_expect(strncmp(at, other, len) != 0, "%s is there twice", at);
        }
    }
}

Test(meter, every_line_has_the_form_that_prometheus_reads)
{
    char *p = mem_strdup(sample(METER_P)), *w = mem_strdup(sample(METER_W));
    check_form(p);
    check_form(w);
    free(p);
    free(w);
}
