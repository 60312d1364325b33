/* What deploy/ ships for Prometheus and Grafana: promtool finds no fault in it, every alert fires where it
 * should and says what to do, and every series that is asked for is one that the programs have. */
#include "io/board.h"
#include "tests/support/harness.h"

#include "base/json.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

TestSuite(prometheus, .timeout = 60);

#define RULES      "deploy/prometheus/hookline.rules.yml"
#define RULE_TESTS "deploy/prometheus/hookline.rules.test.yml"
#define RUNBOOK    "deploy/RUNBOOK.md"
#define README     "deploy/prometheus/README.md"
#define DASHBOARD  "deploy/grafana/hookline.json"

enum { NAME = 100 };

static const char *contents(const char *path)
{
    struct buf b = {0};
    char block[4096];
    FILE *f = fopen(path, "re");
    cr_assert(f, "%s is not there", path);
    for (size_t n; (n = fread(block, 1, sizeof(block), f)) > 0;)
        buf_append(&b, block, n);
    fclose(f);
    const char *text = harness_text("%s", buf_str(&b));
    buf_release(&b);
    return text;
}

/* --- promtool -------------------------------------------------------------------------------- */

static void promtool(const char *arguments)
{
    char out[8192];
    if (system("command -v promtool >/dev/null 2>&1") != 0)
        cr_skip_test("promtool is not installed (Debian package prometheus)");
    FILE *p = popen(harness_text("promtool %s 2>&1", arguments), "re");
    cr_assert_not_null(p);
    size_t n = fread(out, 1, sizeof(out) - 1, p);
    out[n] = '\0';
    int status = pclose(p);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "promtool %s:\n%s", arguments, out);
}

Test(prometheus, the_rules_and_the_example_have_no_fault)
{
    promtool("check rules --lint-fatal " RULES);
    promtool("check config --syntax-only deploy/prometheus/prometheus.yml");
}

Test(prometheus, each_alert_fires_where_it_should_and_nowhere_else)
{
    promtool("test rules " RULE_TESTS);
}

/* What a program would say of one process that has done nothing. */
static void print(enum meter_program program, struct buf *out)
{
    struct board *b = board_new();
    snprintf(b->places[0].process, sizeof(b->places[0].process), "worker-0");
    snprintf(b->places[0].role, sizeof(b->places[0].role), "worker");
    atomic_store(&b->places[0].state, BOARD_READY);
    board_print(b, program, out);
    board_free(b);
}

Test(prometheus, what_a_program_says_is_as_prometheus_wants_it)
{
    for (enum meter_program p = METER_P; p <= METER_W; p++) {
        const char *path = harness_text("%s/metrics", harness_dir());
        struct buf out = {0};
        print(p, &out);
        FILE *f = fopen(path, "we");
        cr_assert_not_null(f);
        cr_assert_eq(fwrite(out.data, 1, out.len, f), out.len);
        fclose(f);
        buf_release(&out);
        promtool(harness_text("check metrics < %s", path));
    }
}

static const char *exposition(void)
{
    struct buf out = {0};
    print(METER_P, &out);
    print(METER_W, &out);
    const char *text = harness_text("%s", buf_str(&out));
    buf_release(&out);
    return text;
}

/* --- the names ------------------------------------------------------------------------------- */

/* Series of the board have their labels only where there are processes. */
static bool is_of_board(const char *name)
{
    return strncmp(name, "hookline_process", strlen("hookline_process")) == 0 ||
           strncmp(name, "hookline_build", strlen("hookline_build")) == 0;
}

/* "histogram" and so on; NULL = there is no such family. */
static const char *type_of(const char *all, const char *name)
{
    const char *line = strstr(all, harness_text("# TYPE %s ", name));
    return line ? strrchr(harness_text("%.*s", (int)strcspn(line, "\n"), line), ' ') + 1 : NULL;
}

/* A series of it, or of a histogram: its family plus _bucket, _sum or _count. People are told families. */
static bool exists(const char *all, const char *series, bool people)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    const char *type = type_of(all, series);
    if (type)
        return people || strcmp(type, "histogram") != 0;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        size_t len = strlen(series), tail = strlen(suffixes[i]);
        if (len <= tail || strcmp(series + len - tail, suffixes[i]) != 0)
            continue;
        type = type_of(all, harness_text("%.*s", (int)(len - tail), series));
        return type && strcmp(type, "histogram") == 0;
    }
    return false;
}

/* A line of that series has key="value". */
static bool has_label(const char *all, const char *series, const char *pair)
{
    size_t len = strlen(series);
    for (const char *at = all; (at = strstr(at, series)); at++) {
        const char *found = strstr(at, pair);
        if ((at[len] == '{' || at[len] == '_') && found && found < at + strcspn(at, "\n"))
            return true;
    }
    return false;
}

/* Labels that Prometheus, or a process's place, gives. */
static bool is_given(const char *key)
{
    static const char *const given[] = {"instance", "job", "process"};
    for (size_t i = 0; i < sizeof(given) / sizeof(*given); i++)
        if (strcmp(given[i], key) == 0)
            return true;
    return false;
}

static void check_values(
    const char *all, const char *series, const char *key, const char *values, const char *where)
{
    for (size_t n; *values; values += n + (values[n] == '|')) {
        n = strcspn(values, "|");
        const char *pair = harness_text("%s=\"%.*s\"", key, (int)n, values);
        cr_expect(has_label(all, series, pair), "%s: no %s has %s", where, series, pair);
    }
}

/* {key="value",key=~"one|other"}: each value is one that the series has. */
static void check_labels(const char *all, const char *series, const char *labels, const char *where)
{
    char key[NAME], values[NAME];
    int n;
    while (sscanf(labels, "%*[{, ]%99[a-z_]%*[=~!]\"%99[^\"]\"%n", key, values, &n) == 2) {
        if (!is_given(key) && !is_of_board(series))
            check_values(all, series, key, values, where);
        labels += n;
    }
}

static void check_series(const char *all, const char *text, const char *where)
{
    bool people = strcmp(where, RUNBOOK) == 0 || strcmp(where, README) == 0;
    int found = 0;
    for (const char *at = text; (at = strstr(at, "hookline_"));) {
        size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
        const char *series = harness_text("%.*s", (int)n, at);
        cr_expect(exists(all, series, people), "%s: there is no %s", where, series);
        at += n;
        if (*at == '{')
            check_labels(all, series, at, where);
        found++;
    }
    cr_expect_gt(found, 0, "%s", where);
}

Test(prometheus, alerts_ask_for_what_there_is)
{
    const char *all = exposition();
    check_series(all, contents(RULES), RULES);
    check_series(all, contents(RULE_TESTS), RULE_TESTS);
    check_series(all, contents(RUNBOOK), RUNBOOK);
    check_series(all, contents(README), README);
}

static json_t *dashboard(void)
{
    struct hl_err err;
    const char *text = contents(DASHBOARD);
    json_t *root = json_parse(text, strlen(text), &err);
    cr_assert(root, "%s: %s", DASHBOARD, err.msg);
    return root;
}

Test(prometheus, each_panel_asks_for_what_there_is_and_stands_in_its_place)
{
    const char *all = exposition();
    json_t *root = dashboard(), *panel, *target;
    bool taken[400][24] = {0}, ids[200] = {0};
    size_t i, k;

    json_array_foreach(json_object_get(root, "panels"), i, panel)
    {
        const json_t *grid = json_object_get(panel, "gridPos");
        long long id = json_integer_value(json_object_get(panel, "id"));
        long long x0 = json_integer_value(json_object_get(grid, "x")),
                  y0 = json_integer_value(json_object_get(grid, "y")),
                  w = json_integer_value(json_object_get(grid, "w")),
                  h = json_integer_value(json_object_get(grid, "h"));
        cr_assert(id > 0 && id < 200 && !ids[id], "panel %lld is there twice", id);
        cr_assert(x0 >= 0 && w > 0 && x0 + w <= 24 && y0 + h < 400, "panel %lld", id);
        ids[id] = true;
        for (long long y = y0; y < y0 + h; y++)
            for (long long x = x0; x < x0 + w; x++) {
                cr_expect(!taken[y][x], "panel %lld lies over another", id);
                taken[y][x] = true;
            }
        json_array_foreach(json_object_get(panel, "targets"), k, target)
        {
            check_series(all, json_string_value(json_object_get(target, "expr")),
                json_string_value(json_object_get(panel, "title")));
        }
    }
    json_decref(root);
}

Test(prometheus, the_dashboard_leaves_no_metric_out)
{
    const char *all = exposition(), *shown = contents(DASHBOARD);
    for (const char *at = all; (at = strstr(at, "# TYPE ")); at++) {
        const char *name =
            harness_text("%.*s", (int)strcspn(at + strlen("# TYPE "), " "), at + strlen("# TYPE "));
        cr_expect(strstr(shown, name), "%s is on no panel", name);
    }
}

/* --- the runbook ----------------------------------------------------------------------------- */

static const char *lower(const char *s)
{
    char *text = mem_strdup(s);
    for (char *p = text; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    const char *kept = harness_text("%s", text);
    free(text);
    return kept;
}

Test(prometheus, each_alert_has_its_tests_and_says_what_to_do)
{
    const char *rules = contents(RULES), *tests = contents(RULE_TESTS), *book = contents(RUNBOOK);
    int n = 0;
    for (const char *at = rules; (at = strstr(at, "- alert: ")); n++) {
        at += strlen("- alert: ");
        const char *name = harness_text("%.*s", (int)strcspn(at, "\n"), at);
        const char *anchor = harness_text("runbook: RUNBOOK.md#%s\n", lower(name)),
                   *found = strstr(at, anchor), *next = strstr(at, "- alert: ");
        cr_expect(found && (!next || found < next), "%s names no section", name);
        cr_expect(strstr(book, harness_text("\n### %s\n", name)), "%s is not explained", name);
        cr_expect(strstr(tests, harness_text("- name: %s fires\n", name)), "%s", name);
        cr_expect(strstr(tests, harness_text("- name: %s is silent\n", name)), "%s", name);
    }
    cr_expect_gt(n, 15);
    for (const char *at = book; (at = strstr(at, "\n### Hookline")); at++)
        cr_expect(
            strstr(rules, harness_text("- alert: %.*s\n", (int)strcspn(at + 5, "\n"), at + 5)),
            "there is no alert %.40s", at + 5);
}

/* A section without what it is there for helps nobody at three in the morning. */
Test(prometheus, each_section_of_the_runbook_says_what_is_seen_what_to_do_and_when_it_worked)
{
    const char *book = contents(RUNBOOK);
    int n = 0;
    for (const char *at = strstr(book, "\n### "), *next; at; at = next, n++) {
        next = strstr(at + 1, "\n### ");
        const char *section = next ? harness_text("%.*s", (int)(next - at), at) : at;
        bool is_alert = strncmp(at, "\n### Hookline", strlen("\n### Hookline")) == 0;
        bool refers = strstr(section, "](#") != NULL;
        cr_expect(!is_alert || strstr(section, "*You see:*"), "%.40s", at + 5);
        cr_expect(!is_alert || refers || strstr(section, "*Look"), "%.40s", at + 5);
        cr_expect(!is_alert || refers || strstr(section, "*Do:*"), "%.40s", at + 5);
        cr_expect(refers || strstr(section, "*It worked:*") || strstr(section, "*Never*"), "%.40s",
            at + 5);
    }
    cr_expect_gt(n, 35);
}
