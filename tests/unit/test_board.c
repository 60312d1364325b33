/* Who has which place, and what the board says of itself. */
#include "io/board.h"

#include "base/buf.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct board *board;

static void make(void)
{
    board = board_new();
    cr_assert_not_null(board);
}

static void drop(void)
{
    board_free(board);
}

TestSuite(board, .init = make, .fini = drop);

static int start(const char *role, const char *process)
{
    int place = board_take(board, role, process, false);
    if (place >= 0)
        board_start(board, place, 1);
    return place;
}

static bool says(enum meter_program program, const char *line)
{
    struct buf out = {0};
    board_print(board, program, &out);
    const char *at = strstr(buf_str(&out), line);
    bool yes = at && at[strlen(line)] == '\n';
    buf_release(&out);
    return yes;
}

Test(board, a_name_belongs_to_one_process_at_a_time_and_its_place_comes_back_to_it)
{
    int first = start("worker", "worker-0"), second = start("worker", "worker-0"),
        third = start("worker", "worker-0");
    cr_expect_str_eq(board->places[first].process, "worker-0");
    cr_expect_str_eq(board->places[second].process, "worker-0.1");
    cr_expect_str_eq(board->places[third].process, "worker-0.2");
    cr_expect(first != second && second != third);
    board_leave(board, second);
    board_leave(board, first);
    cr_expect_eq(start("worker", "worker-0"), first);
    cr_expect_eq(start("worker", "worker-0"), second);
}

/* Whatever was counted stays with its role: places change names, never roles. */
Test(board, places_that_nobody_needs_are_given_to_others_of_their_role_only)
{
    char name[32];
    int janitor = start("janitor", "janitor");
    for (int i = 1; i < BOARD_PLACES; i++) {
        snprintf(name, sizeof(name), "worker-%d", i);
        cr_assert_geq(start("worker", name), 0);
    }
    cr_expect_eq(start("worker", "worker-new"), -1, "all are taken");
    board_leave(board, janitor);
    cr_expect_eq(start("worker", "worker-new"), -1, "it was the janitor's");
    board_leave(board, 17);
    cr_expect_eq(start("worker", "worker-new"), 17);
    cr_expect_str_eq(board->places[17].process, "worker-new");
    cr_expect_eq(start("janitor", "janitor"), janitor);
}

Test(board, names_and_roles_that_are_too_long_are_cut)
{
    char name[100];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    int a = start(name, name), b = start(name, name);
    cr_expect_eq(strlen(board->places[a].process), sizeof(board->places[a].process) - 1);
    cr_expect_eq(strlen(board->places[a].role), sizeof(board->places[a].role) - 1);
    cr_expect_str_neq(board->places[a].process, board->places[b].process);
}

Test(board, ends_are_counted_by_what_they_were)
{
    int place = start("worker", "worker-0"), all, ready;
    meter_use(board_cells(board, place));
    meter_set(M_RSS, 0, 0, 5);
    meter_inc(M_SUPERSEDED, 0, 0);
    cr_expect(says(METER_W, "hookline_resident_bytes{process=\"worker-0\"} 5"));
    board_end(board, place, BOARD_EXPECTED, BOARD_GONE);
    cr_expect(says(METER_W, "hookline_process_crashes_total{role=\"worker\"} 0"));
    cr_expect(says(METER_W, "hookline_processes{role=\"worker\",state=\"gone\"} 1"));
    cr_expect_not(says(METER_W, "hookline_resident_bytes{process=\"worker-0\"} 5"));
    board_start(board, place, 2);
    board_end(board, place, BOARD_CRASHED, BOARD_GONE);
    board_start(board, place, 3);
    board_end(board, place, BOARD_HUNG, BOARD_GONE);
    board_count(board, "worker", &all, &ready);
    cr_expect(all == 1 && ready == 0);
    board_leave(board, place);
    board_count(board, "worker", &all, &ready);
    cr_expect_eq(all, 0);
    cr_expect(says(METER_W, "hookline_process_starts_total{role=\"worker\"} 3"));
    cr_expect(says(METER_W, "hookline_process_crashes_total{role=\"worker\"} 2"));
    cr_expect(says(METER_W, "hookline_process_hangs_total{role=\"worker\"} 1"));
    cr_expect(says(METER_W, "hookline_processes{role=\"worker\",state=\"gone\"} 0"));
    cr_expect(says(METER_W, "hookline_events_superseded_total 1"));
    meter_use(NULL);
}

Test(board, what_the_supervisor_counts_is_shown_too)
{
    start("producer", "producer-0");
    meter_use(board_cells(board, BOARD_PLACES));
    meter_inc(M_LOG_LINES, LEVEL_WARN, 0);
    meter_set(M_RSS, 0, 0, 5);
    cr_expect(says(METER_P, "hookline_log_lines_total{level=\"warn\"} 1"));
    cr_expect_not(says(METER_P, "hookline_resident_bytes{process=\"producer-0\"} 5"));
    cr_expect(says(METER_P,
        "hookline_build_info{version=\"" HOOKLINE_VERSION "\",program=\"hookline-producer\"} 1"));
    meter_use(NULL);
}

/* There is one at any time, whoever comes and goes. */
Test(board, the_first_of_a_role_is_the_ready_one_with_the_lowest_place)
{
    int admin = start("admin", "admin"), a = start("producer", "producer-0"),
        b = start("producer", "producer-1");
    cr_expect_not(board_is_first(board, a), "it only starts");
    for (int i = admin; i <= b; i++)
        atomic_store(&board->places[i].state, BOARD_READY);
    cr_expect(board_is_first(board, a) && !board_is_first(board, b));
    board_end(board, a, BOARD_CRASHED, BOARD_GONE);
    cr_expect(board_is_first(board, b) && !board_is_first(board, a));
    cr_expect_not(board_is_first(board, -1), "it has no place");
}

enum { WRITERS = 4, COUNTS = 200000 };

static pid_t count_in(int place)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    meter_use(board_cells(board, place));
    for (int i = 0; i < COUNTS; i++) {
        meter_inc(M_REQUESTS, 0, 0);
        meter_observe(M_LOOP_LAG, 0, 1);
    }
    _exit(0);
}

static int64_t requests(void)
{
    int64_t n = 0;
    for (int i = 0; i < WRITERS; i++)
        n += meter_read(board_cells(board, i), M_REQUESTS, 0, 0);
    return n;
}

/* Each writes its own cells: nothing is lost, though nothing is locked, and whoever reads meanwhile never
 * sees a sum fall. */
Test(board, processes_count_at_the_same_time_and_no_count_is_lost)
{
    int64_t seen = 0;
    for (int i = 0; i < WRITERS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "producer-%d", i);
        cr_assert_eq(start("producer", name), i);
    }
    for (int i = 0; i < WRITERS; i++)
        cr_assert_gt(count_in(i), 0);
    for (int left = WRITERS; left;) {
        int64_t now = requests();
        cr_assert_geq(now, seen);
        seen = now;
        left -= waitpid(-1, NULL, WNOHANG) > 0;
    }
    cr_expect_eq(requests(), WRITERS * COUNTS);
    char line[64];
    snprintf(line, sizeof(line), "hookline_loop_lag_seconds_count %d", WRITERS * COUNTS);
    cr_expect(says(METER_P, line));
}

/* How a child of that place ends that writes there. */
static int writing_ends(int place, void *at)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would make it an exit */
        board_enter(board, place);
        memset(at, 'x', 1);
        meter_inc(M_REQUESTS, 0, 0);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

static bool dies(int place, void *at)
{
    int status = writing_ends(place, at);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

Test(board, a_child_that_runs_wild_can_write_to_nothing_that_others_go_by)
{
    meter_cell *cells[2];
    for (int i = 0; i < 2; i++)
        cells[i] = board_cells(board, start("producer", "producer-0"));
    cr_expect(dies(0, board));
    cr_expect(dies(0, board->places[0].process), "not even its own name");
    cr_expect(dies(0, &board->places[BOARD_PLACES - 1]));
    cr_expect(dies(0, board_beat(board, 1)));
    cr_expect(dies(1, &cells[0][meter_cells() - 1]));
    cr_expect(dies(0, board_cells(board, BOARD_PLACES)), "the supervisor's");
    cr_expect(dies(-1, cells[0]));
    cr_expect_eq(writing_ends(0, board_beat(board, 0)), 0);
    cr_expect_eq(writing_ends(1, &cells[1][meter_cells() - 1]), 0);
    cr_expect_eq(meter_read(cells[0], M_REQUESTS, 0, 0), 1);
    cr_expect_str_eq(board->places[0].process, "producer-0");
}

/* --- what PROTOCOL.md says of it ------------------------------------------------------------- */

/* Names of the labels of a series, as " `a`, `b`"; le is no label of its own. */
static void put_labels(struct buf *out, const char *series)
{
    const char *end = series + strcspn(series, "}\n"), *before = " ";
    for (const char *at = series; (at = strpbrk(at, "{,\n")) && at < end; at++) {
        size_t len = strcspn(at + 1, "=");
        if (len == 2 && strncmp(at + 1, "le", 2) == 0)
            continue;
        buf_printf(out, "%s`%.*s`", before, (int)len, at + 1);
        before = ", ";
    }
}

static bool has_family(const char *text, const char *name, int len)
{
    char head[160];
    snprintf(head, sizeof(head), "# HELP %.*s ", len, name);
    return strstr(text, head) != NULL;
}

/* Families of `text` as rows of a table: name, type, programs, labels, meaning. Those of `other` are
 * both's; they come with the producer's. */
static void put_rows(struct buf *out, const char *text, const char *other, const char *who)
{
    for (const char *at = text; (at = strstr(at, "# HELP ")); at++) {
        const char *name = at + strlen("# HELP "), *help = strchr(name, ' ') + 1;
        const char *type = strstr(help, "\n# TYPE ") + strlen("\n# TYPE ");
        const char *end = strchr(type, '\n');
        int len = (int)(help - 1 - name);
        type += len + 1;
        bool both = has_family(other, name, len);
        if (both && *who == 'W')
            continue;
        buf_printf(
            out, "| `%.*s` | %.*s | %s |", len, name, (int)(end - type), type, both ? "P W" : who);
        put_labels(out, end + 1);
        buf_printf(out, " | %.*s |\n", (int)strcspn(help, "\n"), help);
    }
}

static char *read_protocol(void)
{
    struct buf b = {0};
    char part[65536];
    FILE *f = fopen("PROTOCOL.md", "re");
    cr_assert(f, "tests run in the folder of the sources");
    for (size_t n; (n = fread(part, 1, sizeof(part), f)) > 0;)
        buf_append(&b, part, n);
    fclose(f);
    return buf_detach(&b);
}

/* Each row of `rows` stands in the document, and no other row begins as they do. */
static void compare(const char *rows, const char *document)
{
    static const char begin[] = "\n| `hookline_";
    int ours = 0, theirs = 0;
    for (const char *at = rows; *at; at += strcspn(at, "\n") + 1, ours++) {
        char row[512];
        snprintf(row, sizeof(row), "%.*s\n", (int)strcspn(at, "\n"), at);
        cr_expect(strstr(document, row), "PROTOCOL.md lacks this row:\n%s", row);
    }
    for (const char *at = document; (at = strstr(at, begin)); at++)
        theirs++;
    cr_expect_eq(ours, theirs, "PROTOCOL.md has %d rows of metrics, there are %d", theirs, ours);
}

Test(board, the_protocol_lists_every_metric_once)
{
    struct buf text[2] = {{0}, {0}}, rows = {0};
    char *document = read_protocol();
    start("producer", "producer-0");
    board_print(board, METER_P, &text[0]);
    board_print(board, METER_W, &text[1]);
    put_rows(&rows, buf_str(&text[0]), buf_str(&text[1]), "P");
    put_rows(&rows, buf_str(&text[1]), buf_str(&text[0]), "W");
    compare(buf_str(&rows), document);
    free(document);
    buf_release(&rows);
    buf_release(&text[0]);
    buf_release(&text[1]);
}
